# SPDX-License-Identifier: BSD-3-Clause
"""Rows about remote devices as files of a vof-mount: random bytes, encryption, digests.

    vof             this process → FUSE → vof-mount → TCP on loopback → vof-target
    /dev/urandom    this process → kernel
    pyfuse3 zeros   this process → FUSE → a few lines of pyfuse3 without a device behind them
    openssl         `openssl speed`: no file, no copy, no other process
    AF_ALG          `kcapi-speed`: the kernel's cipher through a socket

One operation at a time on every side. An operation of ours is what a user does for it: open, write
the input, read the output, close.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench.processes import BOUND, Unavailable, last_line, mount, output_of, target
from tests.bench.results import Sample
from tests.bench.rows import Measure, Row, Table, ours_first

SIZES = {"4 KiB": 4 << 10, "1 MiB": 1 << 20}

RNG = "virtio-target/rng/rng0.service"
CRYPTO = "virtio-target/crypto/crypto0.service"
# More than the default, which is not enough to encrypt 1 MiB in one operation.
DEVICES = f"""\
[rng0]
tvqn = {RNG}
model = rng
backend = driver=rng-random
[crypto0]
tvqn = {CRYPTO}
model = crypto
backend = driver=crypto-openssl,max_size=4M
"""


class Algorithm(NamedTuple):
    title: str
    name: str
    attributes: dict[str, bytes]
    operation: str
    output: int | None
    """How long the output is; None: as long as the input."""
    block_size: int
    """In the units of which kcapi-speed is told the size."""
    kernel: tuple[str, ...]
    """What kcapi-speed calls it, the fastest first."""


ALGORITHMS = (
    Algorithm(
        "AES-256-CBC",
        "aes-256-cbc",
        {"key": bytes(range(32)), "iv": b"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"},
        "encrypt",
        None,
        16,
        ("AES(AESNI) CBC(ASM) 256", "AES(G) CBC(G) 256"),
    ),
    Algorithm(
        "SHA-256",
        "sha256",
        {},
        "digest",
        32,
        64,
        ("SHA-256(SSSE3 AVX AVX2)", "SHA-256(G)"),
    ),
)


@contextlib.contextmanager
def random_rows(work: Path) -> Iterator[Table]:
    zeros_mount = Path(__file__).with_name("zeros_mount.py")
    with (
        vof_mount(work, RNG) as vof,
        mount(work, "zeros", sys.executable, str(zeros_mount)) as zeros,
    ):
        files = {
            "vof": vof / "rng0" / "random",
            "/dev/urandom": Path("/dev/urandom"),
            "pyfuse3 zeros": zeros / "zeros",
        }
        yield ours_first(
            [
                Row(
                    f"random, reads of {title}",
                    "MB/s",
                    {side: partial(read_file, file, size) for side, file in files.items()},
                )
                for title, size in SIZES.items()
            ]
        )


@contextlib.contextmanager
def crypto_rows(work: Path) -> Iterator[Table]:
    kernel = kernel_tests()
    rows = []
    with vof_mount(work, CRYPTO) as vof:
        for algorithm in ALGORITHMS:
            file = session(vof / "crypto0" / "sessions", algorithm)
            for title, size in SIZES.items():
                sides: dict[str, Measure] = {
                    "vof": partial(operate, file, size, algorithm.output or size),
                    "openssl": partial(openssl_speed, algorithm.name, size),
                }
                if not isinstance(kernel, str):
                    test, blocks = kernel[algorithm.name], size // algorithm.block_size
                    sides["AF_ALG"] = partial(kcapi_speed, test, blocks)
                rows.append(Row(f"{algorithm.title} of {title}", "MB/s", sides))
        yield ours_first(rows, [f"no column AF_ALG: {kernel}"] if isinstance(kernel, str) else [])


@contextlib.contextmanager
def vof_mount(work: Path, tvqn: str) -> Iterator[Path]:
    with (
        target(work, "target", DEVICES) as served,
        mount(work, "vof", "vof-mount", "-f", "-o", f"tport={served.port}", tvqn) as folder,
    ):
        yield folder


def session(sessions: Path, algorithm: Algorithm) -> Path:
    """Make a session; return the file of its operation. It ends with the mount."""
    folder = sessions / algorithm.name
    folder.mkdir()
    (folder / "algorithm").write_text(algorithm.name)
    for name, value in algorithm.attributes.items():
        (folder / name).write_bytes(value)
    return folder / algorithm.operation


def read_file(path: Path, size: int, seconds: float) -> Sample:
    """Read with read(2) of one size."""
    total = 0
    buffer = bytearray(size)
    with path.open("rb", buffering=0) as file:
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            got = file.readinto(buffer)
            if not got:
                raise Unavailable(f"{path} has an end")
            total += got
    return Sample(total / (now - start) / 1e6)


def operate(path: Path, size: int, output: int, seconds: float) -> Sample:
    """Do one operation after the other, each with an input of one size."""
    total = 0
    data = os.urandom(size)
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        with path.open("r+b", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            missing = output
            while missing:
                got = file.read(missing)
                if not got:
                    raise Unavailable(f"{path} gave {missing} bytes less than {output}")
                missing -= len(got)
        total += size
    return Sample(total / (now - start) / 1e6)


def openssl_speed(name: str, size: int, seconds: float) -> Sample:
    command = ["openssl", "speed", "-mr", "-elapsed", "-evp", name, "-bytes", str(size)]
    text = output_of([*command, "-seconds", whole(seconds)])
    for line in text.splitlines():
        if line.startswith("+F:"):
            return Sample(float(line.rpartition(":")[2]) / 1e6)
    raise Unavailable(f"openssl speed gave no result for {name}: {last_line(text)}")


def kernel_tests() -> dict[str, str] | str:
    """Return what kcapi-speed calls the algorithms here, or why AF_ALG cannot be measured."""
    try:
        socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    except OSError as error:
        return f"this kernel has no AF_ALG ({error.strerror})"
    if shutil.which("kcapi-speed") is None:
        return "there is no kcapi-speed here (libkcapi has it, Debian's kcapi-tools does not)"
    found = {}
    for algorithm in ALGORITHMS:
        for test in algorithm.kernel:
            if kcapi_result(test, 1, 1.0) is not None:
                found[algorithm.name] = test
                break
        else:
            return f"kcapi-speed gets no {algorithm.title} from this kernel"
    return found


def kcapi_speed(test: str, blocks: int, seconds: float) -> Sample:
    rate = kcapi_result(test, blocks, seconds)
    if rate is None:
        raise Unavailable(f"kcapi-speed gave no result for {test}, {blocks} blocks")
    return Sample(rate)


def kcapi_result(test: str, blocks: int, seconds: float) -> float | None:
    """Return what a test of kcapi-speed reached, if it could be done."""
    command = ["kcapi-speed", "-r", "-t", whole(seconds), "-b", str(blocks), "-c", test]
    done = subprocess.run([*BOUND, *command], check=False, capture_output=True, text=True)
    # A line is: test, e or d, bytes of an operation, bytes a second, operations a second. Of a
    # cipher there are two, a digest has no direction and is always d.
    rates = {
        words[1]: words[3]
        for words in (line.split(",") for line in done.stdout.splitlines())
        if words[0] == test and len(words) == 5
    }
    rate = rates.get("e", rates.get("d"))
    return None if rate is None else int(rate) / 1e6


def whole(seconds: float) -> str:
    return str(max(1, round(seconds)))
