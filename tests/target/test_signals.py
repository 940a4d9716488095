# SPDX-License-Identifier: BSD-3-Clause
"""What the signals do: SIGTERM and SIGINT finish what is in flight, SIGHUP reads the file again."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.target.conftest import Innocent, Log, address_of, config_file
from tests.target.peer import (
    BLOCK0,
    BLOCK2,
    IN,
    OK,
    OUT,
    Association,
    Peer,
    connect_bytes,
    header,
    request_bytes,
    vring_bytes,
)
from tests.target.process import TargetProcess
from tests.target.speakers import V5
from vof.target.server import Target


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_with_idle_connections(tmp_path: Path, number: signal.Signals) -> None:
    with TargetProcess(config_file(tmp_path)) as process:
        with Innocent(process.address) as innocent, Peer(process.address) as silent:
            innocent.check()
            process.signal(number)
            assert process.wait() == 0
            assert silent.is_closed()
        assert process.log == []


def test_stop_while_nothing_is_in_flight(tmp_path: Path) -> None:
    """A virtqueue that waits for a request, and one with half a command, are let go."""
    with TargetProcess(config_file(tmp_path)) as process:
        with V5.attach(process.address, queues=2) as association:
            idle, cut = association.queues
            assert V5.request(idle, IN, room=512)[0] == OK
            assert V5.request(cut, IN, room=512)[0] == OK
            cut.send(b"\xff\x0f")
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
            assert association.is_closed()
        assert process.log == []


@pytest.mark.parametrize("threads", [1, 4])
def test_stop_finishes_what_is_in_flight(tmp_path: Path, threads: int) -> None:
    """An answer that does not fit into the socket buffers is in flight until it has been read."""
    path = config_file(tmp_path, replace=("threads = 1", f"threads = {threads}"))
    size = 24 << 20
    with TargetProcess(path) as process:
        with Association(process.address, BLOCK2, queues=2) as association:
            reader, writer = association.queues
            reader.send(request_bytes(IN, room=size))
            head = reader.receive(16)
            assert writer.request(OUT, 0, b"before" + bytes(506)) == (OK, b"")
            writer.send(request_bytes(IN, room=size, command_id=2))
            first = writer.receive(1)
            process.signal(signal.SIGTERM)
            # New connections are not accepted any more: the stop has begun.
            while True:
                try:
                    Peer(process.address).close()
                except ConnectionError:
                    break
            assert len(reader.receive(48 + size + 1)) == 48 + size + 1
            assert head[:4] == b"\0\0\1\0"
            answer = first + writer.receive(15 + 48 + size + 1)
            assert answer[:4] == b"\0\0\2\0"
            assert answer[64:70] == b"before"
            assert association.is_closed()
        assert process.wait() == 0
        assert process.log == []


def test_stop_keeps_what_was_written(tmp_path: Path) -> None:
    with TargetProcess(config_file(tmp_path)) as process:
        with Association(process.address, BLOCK0, features=1 << 32 | 1 << 9) as association:
            data = os.urandom(1 << 20)
            assert association.queue.request(OUT, 16, data) == (OK, b"")
            assert process.stop() == 0
    assert (tmp_path / "block0.img").read_bytes()[8192 : 8192 + len(data)] == data


def test_stop_is_not_held_up_by_an_initiator_that_never_reads(target: Target, log: Log) -> None:
    with Association(address_of(target), BLOCK2) as association:
        association.queue.send(request_bytes(IN, room=24 << 20))
        association.queue.receive(1)
        begin = time.monotonic()
        target.stop(timeout=0.5)
        assert time.monotonic() - begin < 10
    (line,) = log.lines("stopped")
    assert "did not finish in time" in line


def reload(process: TargetProcess, path: Path, text: str, pattern: str = "event=reloaded") -> str:
    path.write_text(text, encoding="utf-8")
    process.signal(signal.SIGHUP)
    return process.line(pattern)


NEW_DEVICE = """
[new]
tvqn = new/device
model = block
backend = driver=block-memory,size=1M
"""


def test_reload(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    with TargetProcess(path) as process, Innocent(process.address) as innocent:
        # Added.
        line = reload(process, path, text + NEW_DEVICE)
        assert "added=1 removed=0 changed=0 unchanged=3" in line
        with Association(process.address, "new/device") as association:
            assert association.control.config(0, 8) == 2048
            innocent.check()
            # Nothing changed: nobody is disturbed.
            assert "unchanged=4" in reload(process, path, text + NEW_DEVICE)
            assert association.queue.request(IN, 0, room=512) == (OK, bytes(512))
            # Changed: its association ends, and its next one finds the new device.
            bigger = text + NEW_DEVICE.replace("1M", "2M")
            assert "changed=1 unchanged=3" in reload(process, path, bigger)
            assert association.is_closed()
        with Association(process.address, "new/device") as association:
            assert association.control.config(0, 8) == 4096
            # Removed.
            assert "removed=1" in reload(process, path, text)
            assert association.is_closed()
        with Peer(process.address) as peer:
            peer.send(connect_bytes(tvqn="new/device"))
            assert peer.completion().status == 19
        innocent.check()
        assert process.stop() == 0


def test_reload_changes_a_device_on_the_same_file(tmp_path: Path) -> None:
    """The lock on the image goes over from the old device to the new one."""
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    with TargetProcess(path) as process:
        assert "changed=1" in reload(process, path, text.replace("queues=4", "queues=8"))
        with Association(process.address, BLOCK0) as association:
            assert association.control.control(0x1007) == 8
            assert association.queue.request(OUT, 0, bytes(512)) == (OK, b"")
        assert process.stop() == 0


def test_a_reload_after_an_image_was_replaced_or_removed(tmp_path: Path) -> None:
    """Nobody's data becomes another's, and nobody is left to believe that nothing happened."""
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    image, spare = tmp_path / "block0.img", tmp_path / "spare"
    with TargetProcess(path) as process:
        with Association(process.address, BLOCK0) as association:
            spare.write_bytes(b"N" * (1 << 20))
            spare.replace(image)
            line = reload(process, path, text, "event=outdated")
            assert f"tvqn={BLOCK0}" in line
            assert f"{image} was replaced by another file, and the old one has no name" in line
            assert "reload again when none does" in line
            assert "changed=0 unchanged=2 outdated=1" in process.line("event=reloaded")
            old = Path(re.search(r"/proc/[0-9]+/fd/[0-9]+", line)[0])  # type: ignore[index]
            assert association.queue.request(OUT, 0, b"O" * 512) == (OK, b"")
            assert old.read_bytes()[:512] == b"O" * 512
        while "event=outdated" in (line := reload(process, path, text, "outdated|reopened")):
            process.line("event=reloaded")  # the association is still ending
        assert f"{image} was replaced" in line
        assert "changed=1 unchanged=2 event" in process.line("event=reloaded")
        with Association(process.address, BLOCK0) as association:
            assert association.control.config(0, 8) == 2048
            assert association.queue.request(IN, 0, room=512) == (OK, b"N" * 512)
        image.unlink()
        line = reload(process, path, text, "event=outdated")
        assert f"cannot open {image}: No such file or directory, and the old one has no" in line
        assert "unchanged=2 outdated=1" in process.line("event=reloaded")
        with Association(process.address, BLOCK0) as association:
            assert association.queue.request(IN, 0, room=512) == (OK, b"N" * 512)
        assert process.stop() == 0


def test_a_bad_reload_changes_nothing(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    with TargetProcess(path) as process, Innocent(process.address) as innocent:
        for bad, words in (
            (text.replace("model = block", "model = floppy"), "'floppy' is not known"),
            (text.replace("block0.img", "gone.img"), "gone.img: No such file or directory"),
            ("nonsense", "line 1 stands before the first"),
        ):
            line = reload(process, path, bad, "event=not-reloaded")
            assert words in line
            assert "nothing was changed" in line
            innocent.check()
        path.unlink()
        process.signal(signal.SIGHUP)
        assert "cannot read" in process.line("event=not-reloaded")
        innocent.check()
        assert process.stop() == 0


def test_reload_says_what_needs_a_restart(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    with TargetProcess(path) as process, Innocent(process.address) as innocent:
        line = reload(process, path, text.replace("port = 0", "port = 1, 2"), "needs-restart")
        assert 'key=port value="1, 2" event=needs-restart reason="0 stays' in line
        process.line("event=reloaded")
        innocent.check()
        # The limits hold at once.
        smaller = text.replace("targets = 128", "targets = 2")
        reload(process, path, smaller)
        with Peer(process.address) as peer:
            peer.send(connect_bytes())
            assert peer.completion().status == 16
        assert process.stop() == 0


def test_an_image_that_is_taken_at_reload_is_left_out_and_said(tmp_path: Path) -> None:
    path = config_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    double = NEW_DEVICE.replace(
        "driver=block-memory,size=1M", f"driver=block-posix,path={tmp_path}/block0.img"
    )
    with TargetProcess(path) as process, Innocent(process.address) as innocent:
        assert "is locked by another" in reload(process, path, text + double, "event=not-served")
        process.line("event=reloaded")
        innocent.check()
        # Not forgotten either: the next reload tries again.
        assert "is locked by another" in reload(process, path, text + double, "event=not-served")
        assert process.stop() == 0


def test_a_request_that_arrived_before_the_stop_is_executed(tmp_path: Path) -> None:
    """Ten writes behind a read whose answer blocks the queue: all are in the target's hands."""
    path = config_file(tmp_path)
    with TargetProcess(path) as process:
        with Association(process.address, BLOCK0, queues=1) as association:
            queue = association.queue
            queue.send(request_bytes(IN, room=4 << 20, command_id=100))
            for ident in range(10):
                descriptors = [(16, 0, 0), (512, 1, 0), (1, 2, 2)]
                payload = header(OUT, ident) + bytes([ident + 1]) * 512
                queue.send(vring_bytes(descriptors, payload, command_id=ident))
            process.signal(signal.SIGTERM)
            queue.receive(16 + 48 + (4 << 20) + 1)
            done = 0
            while queue.sock.recv(16, socket.MSG_WAITALL):
                queue.receive(25)
                done += 1
        assert process.wait() == 0
    assert done == 10
    data = (tmp_path / "block0.img").read_bytes()
    assert [data[512 * index] for index in range(10)] == list(range(1, 11))
