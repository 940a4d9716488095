# SPDX-License-Identifier: BSD-3-Clause
"""The program: what a user sees of it, and what a user gets wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.target.all_devices import RNG0
from tests.target.conftest import config_file, write_config
from tests.target.crypto_peer import CRYPTO0
from tests.target.peer import (
    BLOCK0,
    BLOCK1,
    BLOCK2,
    IN,
    OK,
    OUT,
    Association,
    Peer,
)
from tests.target.process import COMMAND, TargetProcess, run


def unpaired(stream: str) -> str:
    """Return the one line of an error message."""
    (line,) = stream.splitlines()
    return line


# What a user does wrong; what stands instead; what the message says.
MISTAKES = {
    "unknown key": ("targets = 128", "tragets = 128", "[target] tragets: unknown key; allowed"),
    "unknown device key": ("model = block", "modle = block", "model: is missing"),
    "transport": ("[target]", "[target]\ntransport = udp", "'udp' is not known; use tcp or rdma"),
    "transport twice": ("[target]", "[target]\ntransport = tcp,tcp", "or tcp,rdma for both"),
    "eager": ("[target]", "[target]\neager = 1K", "'1K' is not between 4K and 64M, nor off"),
    "no RDMA device": (
        "[target]",
        "[target]\ntransport = tcp,rdma",
        "no RDMA device serves the address 127.0.0.1; ",
    ),
    "port": ("port = 0", "port = 65536", "[target] port: '65536' is not a port from 0 to 65535"),
    "port twice": ("port = 0", "port = 7, 7", "[target] port: '7, 7' has port 7 twice"),
    "address": ("127.0.0.1", "no.such.host.invalid", "cannot find the address"),
    "foreign address": ("127.0.0.1", "192.0.2.77", "cannot listen on 192.0.2.77"),
    "threads": ("threads = 1", "threads = many", "'many' is not a whole number from 1 to 64"),
    "tvqn too long": (
        "tvqn = virtio-target/block/block0.service",
        "tvqn = " + "x" * 256,
        "is 256 bytes long; at most 255 are allowed",
    ),
    "tvqn twice": ("block1.service", "block0.service", "the tvqn is that of"),
    "model": ("model = block", "model = floppy", "'floppy' is not known; use block"),
    "driver": ("driver=block-posix", "driver=block-ceph", "use block-posix or block-memory"),
    "driver key": ("queues=4", "queus=4", "queus: unknown key; allowed here: driver, queues"),
    "size": ("size=4M", "size=4X", "'4X' is not a size"),
    "memory": ("size=64M", "size=8388607T", "bytes of memory: Cannot allocate memory; set fewer"),
    "a size no disk has": ("size=64M", "size=9999999T", "is too large: a size is at most 8388607T"),
    "serial": ("vof-000001", "x" * 21, "is 21 bytes long; at most 20 are allowed"),
    "missing image": ("block0.img", "gone.img", "gone.img: No such file or directory"),
    "a folder": ("/block0.img", "", "Is a directory"),
    "same image twice": (
        "driver=block-memory,size=4M",
        "driver=block-posix,path={folder}/block0.img",
        "is locked by another target or another section",
    ),
    "no section": ("\n[target]", "", "line 2 stands before the first [section]"),
    "section twice": ("[block1]", "[block0]", "the section [block0] is there twice"),
}


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_clear_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = config_file(tmp_path, replace=(old, new.replace("{folder}", str(tmp_path))))
    result = run(path)
    line = unpaired(result.stderr)
    assert line.startswith("vof-target: ")
    assert words in line
    assert (result.returncode, result.stdout) == (1, "")
    if not words.startswith(("cannot listen", "cannot find the address", "no RDMA device")):
        assert str(tmp_path) in line


CHECKED = [name for name in MISTAKES if "address" not in name and name != "same image twice"]


@pytest.mark.parametrize("name", CHECKED)
def test_check_finds_the_same(tmp_path: Path, name: str) -> None:
    old, new, words = MISTAKES[name]
    result = run("--check", config_file(tmp_path, replace=(old, new)))
    assert words in unpaired(result.stderr)
    assert (result.returncode, result.stdout) == (1, "")


def test_openssl_is_loaded_for_a_crypto_device_only() -> None:
    code = "import sys, vof.target.cli; print('cryptography' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_check_of_a_good_file(tmp_path: Path) -> None:
    path = config_file(tmp_path, replace=("port = 0", "port = 0, 0"))
    # Also while it is being served.
    with TargetProcess(path) as process:
        result = run("--check", path)
        assert result.stdout == (
            f"vof-target: {path} is good: 3 devices at 127.0.0.1 port 0, 0 (tcp)\n"
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert process.stop() == 0


def test_check_tells_what_will_not_be_served(tmp_path: Path) -> None:
    result = run("--check", config_file(tmp_path, replace=("size=4M", "size=1000")))
    assert (result.returncode, " is good: 3 devices at " in result.stdout) == (0, True)
    assert "bytes=488 event=cut-off" in unpaired(result.stderr)


def test_a_missing_file(tmp_path: Path) -> None:
    for arguments in ((tmp_path / "no.conf",), ("--check", tmp_path / "no.conf")):
        result = run(*arguments)
        assert unpaired(result.stderr) == (
            f"vof-target: cannot read {tmp_path}/no.conf: No such file or directory"
        )
        assert result.returncode == 1


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A path may be any bytes; nothing else may."""
    folder = os.fsencode(tmp_path) + b'/\xff \xd0\xb6 "%s" #;,'
    path = Path(os.fsdecode(folder)) / "vtgt.conf"
    path.parent.mkdir()
    text = write_config(Path(os.fsdecode(folder))).replace("#;,/block0", "#;,,/block0")
    path.write_bytes(os.fsencode(text))
    result = run("--check", path)
    shown = ascii(os.fsdecode(folder))[1:-1].replace("\\u0436", "ж")
    assert result.stdout.startswith(f"vof-target: {shown}/vtgt.conf is good: 3 devices at ")
    assert (result.returncode, result.stderr) == (0, "")
    for old, words in (
        ("port = 0", "[target] port: '\\udcff' is not a port"),
        ("address = 127.0.0.1", "address: '\\udcff' is not an address or a host name"),
        ("tvqn = virtio-target/block/block0.service", "the name is not valid UTF-8"),
        ("model = block", "model: '\\udcff' is not known"),
        ("backend = driver=block-memory,size=4M,serial=vof-000002", "'\\udcff' where key=value"),
    ):
        key = old.partition("=")[0]
        path.write_bytes(os.fsencode(text.replace(old, f"{key}= \udcff")))
        result = run(path)
        assert words in unpaired(result.stderr)
        assert result.returncode == 1


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(config_file(tmp_path, replace=("port = 0", f"port = 0, {port}")))
    assert unpaired(result.stderr) == (
        f"vof-target: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "free it, or set another address or port in [target] (--address, --port with --demo)"
    )
    assert result.returncode == 1


def test_an_image_that_cannot_be_written(tmp_path: Path) -> None:
    """A program that is being executed cannot be opened for writing, not even by root."""
    busy = tmp_path / "busy"
    shutil.copy("/bin/sleep", busy)
    with subprocess.Popen([busy, "60"]) as sleeper:
        try:
            path = config_file(tmp_path, replace=(f"{tmp_path}/block0.img", str(busy)))
            result = run(path)
            assert f"cannot open {busy}: Text file busy" in unpaired(result.stderr)
            assert result.returncode == 1
            readonly = path.read_text(encoding="utf-8").replace("queues=4", "queues=4,readonly=yes")
            path.write_text(readonly, encoding="utf-8")
            with TargetProcess(path) as process:
                assert process.stop() == 0
        finally:
            sleeper.kill()


def test_two_targets_do_not_serve_one_image(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    with TargetProcess(path) as process:
        result = run(path)
        assert "block0.img is locked by another target" in unpaired(result.stderr)
        assert result.returncode == 1
        assert process.stop() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.conf", "b.conf"),
        ("a.conf", "--demo"),
        ("--check", "a.conf", "--demo"),
        ("--port", "7", "a.conf"),
        ("--address", "::1", "--check", "a.conf"),
        ("--demo", "--port", "65536"),
        ("--demo", "--metrics", "everywhere"),
        ("a.conf", "--metrics", "/m"),
        ("--no-such-option",),
        ("--demoo",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("vof-target: error: ")


def test_help_and_version_and_the_manual_agree() -> None:
    page = Path(__file__, "../../../man/vof-target.8").resolve().read_text(encoding="utf-8")
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    options = set(re.findall(r"--[a-z]+", result.stdout))
    assert options >= {"--check", "--demo", "--address", "--port", "--metrics", "--trace"}
    for option in options:
        assert f"Fl Fl {option[2:]}" in page, option
    assert run("--version").stdout.startswith("vof-target ")


def test_the_manual_has_every_key() -> None:
    page = Path(__file__, "../../../man/vof-target.8").resolve().read_text(encoding="utf-8")
    target = "transport address port threads targets connections eager"
    timeouts = "handshake_timeout send_timeout"
    device = "tvqn model features backend"
    backend = (
        "driver queues serial readonly block_size path cache size bytes period sessions max_size"
    )
    for key in f"{target} {timeouts} {device} {backend}".split():
        assert f".It Cm {key}\n" in page, key


def test_demo_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new/demo"
    with TargetProcess("--demo", folder, "--port", "0") as process:
        assert any("nbdkit python" in line and "tport=" in line for line in process.said)
        for tvqn, sectors, queues in (
            (BLOCK0, 1 << 21, 4),
            (BLOCK1, 1 << 21, 1),
            (BLOCK2, 1 << 17, 1),
        ):
            assert any(tvqn in line for line in process.said)
            with Association(process.address, tvqn) as association:
                assert association.control.config(0, 8) == sectors
                assert association.control.control(0x1007) == queues
                status, serial = association.queue.request(8, room=20)
                expected = f"vof-00000{int(tvqn[-9]) + 1}".encode().ljust(20, b"\0")
                assert (status, serial) == (OK, expected)
                assert association.queue.request(OUT, 5, tvqn[:16].encode() * 32) == (OK, b"")
        for tvqn, device_id in ((RNG0, 4), (CRYPTO0, 20)):
            assert any(tvqn in line for line in process.said)
            with Association(process.address, tvqn) as association:
                assert association.control.control(0x1001) == device_id
        process.signal(signal.SIGHUP)  # there is nothing to read again
        assert process.wait() == 0
    images = {name: folder / name for name in ("block0.img", "block1.img")}
    assert {path.name for path in folder.iterdir()} == set(images)
    for image in images.values():
        assert image.stat().st_size == 1 << 30
        assert image.stat().st_blocks < 1000
    # Images that are there are kept.
    with TargetProcess("--demo", folder, "--port", "0,0") as process:
        first, second = process.addresses
        for address in (first, second):
            with Association(address, BLOCK0) as association:
                expected = BLOCK0[:16].encode() * 32
                assert association.queue.request(IN, 5, room=512) == (OK, expected)
        assert process.stop() == 0


@pytest.mark.clause("v5 Transport Binding 1", "target")
def test_demo_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with TargetProcess("--demo", "--address", "::1", "--port", "0") as process:
        assert process.address[0] == "::1"
        with Peer(process.address) as peer:
            assert peer.connect() == 0
        assert len(list(tmp_path.iterdir())) == 1
        assert process.stop() == 0
    assert not list(tmp_path.iterdir())


def test_verbose(tmp_path: Path) -> None:
    with TargetProcess("-v", config_file(tmp_path)) as process:
        with Association(process.address) as association:
            process.line("queue=control event=connected")
            process.line("queue=0 event=connected")
            association.control.send(b"\xff" * 16)
            process.line("event=violation")
        assert process.stop() == 0


def test_without_stdout_and_stderr(tmp_path: Path) -> None:
    """A target without anywhere to write is still one that stops in order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = config_file(tmp_path, replace=("port = 0", f"port = {port}"))
    with subprocess.Popen(["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, path]) as process:
        while True:
            try:
                Peer(("127.0.0.1", port)).close()
            except ConnectionError:
                assert process.poll() is None
            else:
                break
        with Peer(("127.0.0.1", port)) as peer:
            assert peer.connect() == 0
            assert peer.send(b"\xff" * 16).is_closed()
        process.terminate()
        assert process.wait(20) == 0
