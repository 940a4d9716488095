# SPDX-License-Identifier: BSD-3-Clause
"""A disk's file grows and shrinks while it is served."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.target.conftest import Innocent, Log, Serve, address_of
from tests.target.peer import (
    BLOCK0,
    BLOCK1,
    DISCARD,
    IN,
    IOERR,
    OK,
    OUT,
    WRITE_ZEROES,
    Association,
    command_bytes,
    header,
    vring_bytes,
)
from tests.target.speakers import CONFIG_CHANGE, PROPOSAL, V2, V5, Speaker
from vof.target import size_watch

Address = tuple[str, int]

MIB = 1 << 20
SECTORS = (4 << 20) // 512
FEATURES = 1 << 32 | 1 << 9 | 1 << 13 | 1 << 14

both_later = pytest.mark.parametrize("speaker", [V2, V5], ids=lambda item: item.name)


@pytest.fixture
def image(address: Address, tmp_path: Path) -> Path:
    """The file behind block0, of 4 MiB."""
    return tmp_path / "target0/block0.img"


def resize(image: Path, size: int, *associations: Association) -> None:
    """Resize the file and wait until these were told, and have read it: until then v5 tells of
    nothing else."""
    os.truncate(image, size)
    for association in associations:
        assert association.control.completion()[:2] == CONFIG_CHANGE
        capacity(association)


def speaker_of(association: Association) -> Speaker:
    return V5 if association.v5 else V2 if association.oftype else PROPOSAL


def capacity(association: Association) -> int:
    return speaker_of(association).config(association.control, 0, 8)


def generation(association: Association) -> int:
    if not association.v5:
        return speaker_of(association).control(association.control, "get_generation")
    association.control.send(V5.command("get_config", 0 | 1 << 16))
    return int.from_bytes(association.control.receive(16)[4:8], "little")


@both_later
def test_growing_and_shrinking(address: Address, image: Path, log: Log, speaker: Speaker) -> None:
    with (
        speaker.attach(address) as association,
        speaker.attach(address) as other,
        PROPOSAL.attach(address) as old,
        speaker.attach(address, BLOCK1) as memory,
    ):
        queue = association.queue
        assert speaker.request(queue, IN, SECTORS, room=512)[0] == IOERR
        resize(image, 6 * MIB, association, other)
        for each in (association, other, old):
            assert capacity(each) == 6 * MIB >> 9
            assert generation(each) == 1
        assert [PROPOSAL.control(old.control, "get_config_changed") for _ in range(2)] == [1, 0]
        end = (6 * MIB >> 9) - 1
        assert speaker.request(queue, OUT, end, b"z" * 512) == (OK, b"")
        assert speaker.request(other.queue, IN, end, room=512) == (OK, b"z" * 512)
        assert old.queue.request(IN, end, room=512) == (OK, b"z" * 512)
        assert speaker.request(queue, IN, end, room=1024)[0] == IOERR
        # What does not fill a sector at the end is not served.
        resize(image, 5 * MIB + 511, association, other)
        assert capacity(association) == 5 * MIB >> 9
        for each in (association, other):
            for kind, data, room in ((IN, b"", 512), (OUT, b"z" * 512, 0)):
                assert speaker.request(each.queue, kind, 5 * MIB >> 9, data, room)[0] == IOERR
            assert speaker.request(each.queue, IN, (5 * MIB >> 9) - 1, room=512)[0] == OK
        assert generation(association) == 2
        assert image.stat().st_size == 5 * MIB + 511
        # A disk in memory has the size it has.
        assert (capacity(memory), generation(memory)) == (SECTORS, 0)
    lines = log.lines("resized")
    assert lines == [
        f"tvqn={BLOCK0} bytes={6 * MIB} before={4 * MIB} event=resized",
        f"tvqn={BLOCK0} bytes={5 * MIB} before={6 * MIB} event=resized",
    ]
    assert not log.lines("io-error")


def test_a_file_that_is_emptied(address: Address, image: Path, log: Log) -> None:
    with V5.attach(address) as association:
        assert V5.request(association.queue, OUT, 0, b"z" * 512) == (OK, b"")
        resize(image, 0, association)
        assert capacity(association) == 0
        assert V5.request(association.queue, IN, 0, room=512) == (IOERR, bytes(512))
        assert V5.request(association.queue, OUT, 0, b"z" * 512) == (IOERR, b"")
        resize(image, MIB, association)
        assert V5.request(association.queue, IN, 0, room=512) == (OK, bytes(512))
        assert V5.request(association.queue, IN, 2047, room=512) == (OK, bytes(512))
    assert not log.lines("violation")


def test_ranges_are_checked_against_the_new_size(address: Address, image: Path) -> None:
    def segment(sector: int, sectors: int) -> bytes:
        return sector.to_bytes(8, "little") + sectors.to_bytes(4, "little") + bytes(4)

    with V5.attach(address) as association:
        for status in (1, 3):
            V5.set_status(association.control, status)
        V5.control(association.control, "set_driver_feature", value=FEATURES)
        V5.set_status(association.control, 0xF)
        for size, good, bad in (
            (8 * MIB, 16376, 16377),
            (MIB, 2040, 2041),
        ):
            resize(image, size, association)
            for kind in (DISCARD, WRITE_ZEROES):
                assert V5.request(association.queue, kind, 0, segment(good, 8)) == (OK, b"")
                assert V5.request(association.queue, kind, 0, segment(bad, 8)) == (IOERR, b"")


def test_until_it_is_noticed_the_end_of_the_file_is_an_io_error(
    serve: Serve, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_watch, "INTERVAL", 3600.0)
    with Association(address_of(serve())) as association:
        os.truncate(tmp_path / "target0/block0.img", 4096)
        assert association.queue.request(IN, 0, room=4096)[0] == OK
        # Beyond the new end: an error and not zeros that were never written.
        assert association.queue.request(IN, 7, room=1024) == (IOERR, bytes(1024))
        large = 1 << 20
        assert association.queue.request(IN, 0, room=large) == (IOERR, bytes(large))
        # The next control command sees to it that the line is written.
        assert association.queue.control(0x1001) == 2
    (line,) = log.lines("io-error")
    assert f"tvqn={BLOCK0} request=IN sector=7" in line
    assert 'reason="the file is shorter than it was"' in line


@pytest.mark.parametrize("threads", [1, 4])
def test_requests_in_flight(serve: Serve, tmp_path: Path, threads: int) -> None:
    """What lies within all sizes is not disturbed, however large the requests are."""
    where = address_of(serve(threads=threads))
    image = tmp_path / "target0/block0.img"
    done = threading.Event()
    failures: list[object] = []
    data = os.urandom(256 << 10)

    def work(sector: int) -> None:
        with PROPOSAL.attach(where) as mine:
            count = 0
            while not done.is_set() or not count:
                count += 1
                if mine.queue.request(OUT, sector, data) != (OK, b""):
                    failures.append(("write", sector))
                if mine.queue.request(IN, sector, room=len(data)) != (OK, data):
                    failures.append(("read", sector))

    workers = [threading.Thread(target=work, args=(512 * number,)) for number in range(3)]
    with V5.attach(where) as association:
        for worker in workers:
            worker.start()
        try:
            for size in (8 * MIB, 1 * MIB, 2 * MIB, 1 * MIB):
                resize(image, size, association)
                assert capacity(association) == size >> 9
        finally:
            done.set()
            for worker in workers:
                worker.join()
    assert failures == []


def test_events_come_between_completions(address: Address, image: Path) -> None:
    """An association whose control queue is busy is told too, in one piece."""
    done = threading.Event()
    sizes = [MIB, 2 * MIB, 3 * MIB]

    def change() -> None:
        with V5.attach(address, queues=0) as witness:
            for size in sizes:
                resize(image, size, witness)
        done.set()

    changing = threading.Thread(target=change)
    with V2.attach(address, queues=0) as association:
        control = association.control
        changing.start()
        told = 0
        rounds = 0
        while not done.is_set() or rounds < 50:
            rounds += 1
            idents = list(range(100))
            control.send(b"".join(command_bytes(0x1001, ident) for ident in idents))
            while idents:
                answer = control.completion()
                if answer[:2] == CONFIG_CHANGE:
                    told += 1
                else:
                    assert answer == (0, idents.pop(0), 0, 2)
        changing.join()
        # Events that waited together are one.
        assert 1 <= told <= len(sizes)
        assert capacity_after(association) == sizes[-1] >> 9


def capacity_after(association: Association) -> int:
    """Read the capacity, whatever event is still on its way."""
    association.control.send(V2.command("get_config", 8 << 16, command_id=7))
    while (answer := association.control.completion())[:2] == CONFIG_CHANGE:
        pass
    return answer.value


def ask_on(deaf: Association) -> None:
    """Ask without reading an answer, which fills every buffer there is, until that is ended."""
    idents = itertools.cycle(range(0xFF00))
    with contextlib.suppress(ConnectionError):
        while True:
            commands = (command_bytes(0x1001, next(idents)) for _ in range(1000))
            deaf.control.send(b"".join(commands))


def is_probed(sock: socket.socket) -> bool:
    """Return whether the other end has more for this socket than it has room for: its kernel asks
    again and again whether there is some (proc_net_tcp: timer 4)."""
    ends = [f"{port:04X}" for _, port in (sock.getpeername(), sock.getsockname())]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, timer, *_ = line.split()
        if [local.partition(":")[2], remote.partition(":")[2]] == ends:
            return timer.startswith("04:")
    return True  # it has given up already


def test_an_initiator_that_reads_no_events(serve: Serve, log: Log, tmp_path: Path) -> None:
    """It keeps nobody else from being told, and is ended in time."""
    where = address_of(serve(send_timeout=2))
    image = tmp_path / "target0/block0.img"
    with (
        Innocent(where) as innocent,
        V5.attach(where, queues=1) as deaf,
        V5.attach(where) as association,
    ):
        asking = threading.Thread(target=ask_on, args=(deaf,))
        asking.start()
        while not is_probed(deaf.control.sock):
            assert asking.is_alive()
        for size in (6 * MIB, 5 * MIB):
            resize(image, size, association)
        assert deaf.queue.is_closed()
        asking.join()
        innocent.check()
        assert V5.request(association.queue, IN, (5 * MIB >> 9) - 1, room=512)[0] == OK
    (line,) = log.lines("stalled")
    assert 'reason="the initiator took no data for 2 s"' in line
    assert not log.lines("violation")


def test_one_config_change_is_outstanding_in_v5(address: Address, image: Path) -> None:
    """Until the config space is read; what is read then is the latest, with its generation."""
    with V5.attach(address, queues=0) as association, V2.attach(address, queues=0) as witness:
        control = association.control
        for size in (MIB, 2 * MIB, 3 * MIB):
            resize(image, size, witness)
        event = struct.unpack("<HHI8x", control.receive(16))
        assert event[:2] == CONFIG_CHANGE
        assert 1 <= event[2] <= 3
        # Nothing else stands between it and the next answer.
        assert capacity(association) == 3 * MIB >> 9
        assert generation(association) == 3
        resize(image, 4 * MIB, witness, association)


def test_an_event_before_anyone_asks(address: Address, image: Path) -> None:
    """An initiator that does nothing but listen is told."""
    with V5.attach(address, queues=0) as association:
        resize(image, 2 * MIB, association)
        association.control.half_close()
        assert association.control.is_closed()


def test_a_write_at_the_new_end(address: Address, image: Path) -> None:
    with V2.attach(address) as association:
        resize(image, 4 * MIB + 512, association)
        association.queue.send(
            vring_bytes(
                [(16, 0, 0), (512, 1, 0), (1, 2, 2)],
                header(OUT, SECTORS) + b"e" * 512,
                opcode=0x0FFF,
            )
        )
        assert association.queue.vring_completion([(1, 2, 2)]) == b"\0"
    assert image.read_bytes()[-512:] == b"e" * 512
