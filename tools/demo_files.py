# SPDX-License-Identifier: BSD-3-Clause
"""The second part of the demonstration: remote devices as files, by vof-mount.

Random bytes and what they look like, encryption and a signature that the openssl program agrees
with, and a file system in a loop mount of a remote disk's file.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from pathlib import Path

from demo_stage import DemoError, console, mounted, run, show, step, succeeds

DEVICES = ("rng/rng0", "crypto/crypto0", "block/block0")
SAMPLE = 1 << 20
KEY = bytes(range(32))
IV = bytes(range(240, 256))
TEXT = b"The quick brown fox jumps over the lazy dog, and over 16 more.\r\n"

CHI_SQUARE_RANGE = (150.0, 380.0)
"""For 255 degrees of freedom; a random sample falls outside once in some million runs."""


def show_files(work: Path, port: int) -> None:
    """Mount the target's other devices, use each, and unmount."""
    step("vof-mount presents other devices as files")
    folder = work / "files"
    folder.mkdir()
    names = [f"virtio-target/{name}.service" for name in DEVICES]
    with contextlib.ExitStack() as undo:
        undo.callback(succeeds, "umount", "--lazy", str(folder))
        run("vof-mount", "-o", f"tport={port}", *names, str(folder))
        tree = sorted(path.relative_to(folder) for path in folder.glob("*/*"))
        show([], "\n".join(map(str, [*sorted(folder.glob("*"))[-1:], *tree])))
        show_random(folder / "rng0" / "random")
        show_crypto(work, folder / "crypto0" / "sessions")
        show_disk(work, folder / "block0" / "disk")
        undo.pop_all()
        run("umount", str(folder))


def show_random(file: Path) -> None:
    """Read a sample and look whether it could be random."""
    with file.open("rb", buffering=0) as source:
        data = bytearray()
        while len(data) < SAMPLE:
            data += source.read(SAMPLE - len(data))
    expected = SAMPLE / 256
    counts = Counter(data)
    chi_square = sum((counts[value] - expected) ** 2 for value in range(256)) / expected
    ones = int.from_bytes(data).bit_count() / (SAMPLE * 8)
    show(["head", "-c", "1M", str(file)])
    show([], f"chi-square of the byte values {chi_square:.0f} (255 is expected), {ones:.4%} ones")
    low, high = CHI_SQUARE_RANGE
    if not (low < chi_square < high and abs(ones - 0.5) < 0.001):
        raise DemoError("the bytes of the remote rng do not look random")


def operate(file: Path, data: bytes) -> bytes:
    """Do one operation: write the input, read the output, through one open file."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.write(descriptor, data)
        return os.read(descriptor, SAMPLE)
    finally:
        os.close(descriptor)


def openssl(*arguments: str, data: bytes) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, check=False, capture_output=True)
    if done.returncode:
        raise DemoError(f"openssl {arguments[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout


def show_crypto(work: Path, sessions: Path) -> None:
    """Encrypt and sign on the remote device; have openssl decrypt and verify."""
    cipher = sessions / "cbc"
    cipher.mkdir()
    (cipher / "algorithm").write_text("aes-256-cbc\n")
    (cipher / "key").write_bytes(KEY)
    (cipher / "iv").write_text(IV.hex())
    encrypted = operate(cipher / "encrypt", TEXT)
    arguments = ("enc", "-d", "-aes-256-cbc", "-nopad", "-K", KEY.hex(), "-iv", IV.hex())
    if openssl(*arguments, data=encrypted) != TEXT:
        raise DemoError("openssl does not decrypt what crypto0 encrypted")
    cipher.rmdir()
    show([], "aes-256-cbc by crypto0: openssl enc -d gives the text back")

    key, public = work / "rsa.pem", work / "rsa.pub"
    openssl("genrsa", "-out", str(key), "2048", data=b"")
    openssl("pkey", "-in", str(key), "-pubout", "-out", str(public), data=b"")
    signer = sessions / "rsa"
    signer.mkdir()
    (signer / "algorithm").write_text("rsa-sha256\n")
    (signer / "key").write_bytes(key.read_bytes())
    signature = work / "signature"
    signature.write_bytes(operate(signer / "sign", TEXT))
    verify = ("dgst", "-sha256", "-verify", str(public), "-signature", str(signature))
    answer = openssl(*verify, data=TEXT).decode().strip()
    signer.rmdir()
    show([], f"rsa-sha256 by crypto0: openssl dgst -verify says {answer}")


def show_disk(work: Path, disk: Path) -> None:
    """Make a file system in a loop mount of the remote disk's file."""
    folder = work / "loop"
    folder.mkdir()
    run("mkfs.ext4", "-q", "-F", str(disk))
    with mounted(str(disk), folder, "-o", "loop"):
        (folder / "hello").write_bytes(TEXT)
    show([], run("e2fsck", "-f", "-n", str(disk)).splitlines()[-1])
    console.print("  [green]All of it was done by the remote devices.[/]")
