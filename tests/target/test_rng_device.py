# SPDX-License-Identifier: BSD-3-Clause
"""The entropy device over TCP, waiting and failing included; nobody else notices."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.all_devices import (
    FILE,
    LETTERS,
    RNG0,
    SLOW,
    Everyone,
    all_devices,
    letters,
    room_for,
    served,
)
from tests.target.conftest import Log
from tests.target.crypto_peer import answered_short
from tests.target.peer import Association, Peer, connect_bytes, vring_bytes
from tests.target.process import TargetProcess

Address = tuple[str, int]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    with served(tmp_path) as where:
        yield where


@pytest.fixture
def everyone(address: Address) -> Iterator[Everyone]:
    with Everyone(address) as them:
        yield them
        them.check()


def test_what_the_device_says_of_itself(address: Address) -> None:
    with Association(address, RNG0, features=1 << 32) as association:
        control = association.control
        assert control.control(0x1001) == 4
        assert control.control(0x1005) == 1 << 32
        assert control.control(0x1007) == 1
        assert control.control(0x1008) == 8
        # No config space: EINVAL, whatever is asked for.
        for width in (1, 2, 4, 8):
            assert control.try_control(0x100A, width << 16) == (22, 0)
            assert control.try_control(0x100B, width << 16) == (22, 0)
        assert len(set(letters(association, 4096))) > 200


def test_several_descriptors_are_one_area(address: Address) -> None:
    with Association(address, LETTERS) as association:
        assert letters(association, 3, 1, 30) == b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH"
        assert letters(association, 2) == b"IJ"


def test_a_short_answer_fills_descriptors_in_order(address: Address) -> None:
    with Association(address, FILE) as association:
        assert letters(association, 90) == bytes(range(90))
        request, writable = room_for((7, 9, 4))
        association.queue.send(request)
        assert answered_short(association.queue, writable) == (
            bytes(range(90, 97)),
            bytes(range(97, 100)),
            b"",
        )


@pytest.mark.usefixtures("everyone")
def test_the_end_of_a_file(address: Address, log: Log) -> None:
    with Association(address, FILE) as association:
        assert len(letters(association, 100)) == 100
        association.queue.send(room_for((16,))[0])
        assert association.is_closed()
    (line,) = log.lines("device-failed")
    assert f"tvqn={FILE}" in line
    assert "has come to its end" in line


BAD = {
    "device-readable bytes": vring_bytes([(4, 0, 0), (16, 1, 2)], b"abcd"),
    "nothing but device-readable bytes": vring_bytes([(4, 0, 0)], b"abcd"),
    "more descriptors than the queue has": vring_bytes([(1, ident, 2) for ident in range(9)]),
    "more than a request may have": vring_bytes([((1 << 20) + 1, 0, 2)]),
    "no descriptors": vring_bytes([]),
}


@pytest.mark.usefixtures("everyone")
@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_requests_that_are_violations(address: Address, log: Log, data: bytes) -> None:
    with Association(address, RNG0) as association:
        association.queue.send(data)
        assert association.is_closed()
    (line,) = log.lines("violation")
    assert f"tvqn={RNG0}" in line


def test_the_largest_request(address: Address) -> None:
    with Association(address, RNG0) as association:
        assert len(set(letters(association, 1 << 20))) == 256


def use_up(address: Address) -> Association:
    """Return an association whose next request has an hour to wait."""
    association = Association(address, SLOW)
    request, writable = room_for((16,))
    association.queue.send(request)
    assert answered_short(association.queue, writable) == (b"ABCDEFGHIJ",)
    association.queue.send(request)
    return association


@pytest.mark.parametrize("threads", [1, 3])
def test_waiting_disturbs_nobody(tmp_path: Path, threads: int) -> None:
    with served(tmp_path, threads=threads) as address, Everyone(address) as everyone:
        with use_up(address) as waiting:
            everyone.check()
            # Nor the waiting association's own control queue.
            assert waiting.control.control(0x1001) == 4
            with Association(address, SLOW) as other:
                other.queue.send(room_for((1,))[0])
                everyone.check()
        # Both went away while they waited: their places are free at once.
        with Association(address, SLOW) as again:
            assert again.control.control(0x1001) == 4
        everyone.check()


@pytest.mark.parametrize("threads", [1, 3])
def test_who_waits_is_let_go_when_the_control_queue_is(tmp_path: Path, threads: int) -> None:
    with served(tmp_path, threads=threads) as address, use_up(address) as waiting:
        waiting.control.close()
        assert waiting.queue.is_closed()
        # Its id is free when nothing is executed for it any more, which is not long.
        for _ in range(1000):
            with Peer(address) as peer:
                if peer.connect(tvqn=SLOW) == waiting.target_id:
                    break
        else:
            pytest.fail("the request is still waiting")


@pytest.mark.parametrize("threads", [1, 4])
def test_answers_come_in_the_order_of_the_requests(tmp_path: Path, threads: int) -> None:
    with served(tmp_path, threads=threads) as address, Association(address, LETTERS) as association:
        queue, request = association.queue, room_for((1,))[0]
        idents = range(100, 108)
        queue.send(b"".join(request[:2] + struct.pack("<H", each) + request[4:] for each in idents))
        found = []
        for _ in idents:
            answer = queue.completion()
            queue.receive(24 * answer.ndesc)
            found.append((answer.command_id, queue.receive(1)))
        assert found == [(each, b"%c" % (ord("A") + each - 100)) for each in idents]


def test_a_queue_is_left_while_its_request_waits(address: Address) -> None:
    """The association stays, and the queue can be connected again."""
    with use_up(address) as waiting:
        waiting.queue.close()
        for _ in range(1000):
            with Peer(address) as peer:
                peer.send(connect_bytes(waiting.target_id, 0, tvqn=SLOW))
                if peer.completion().status == 0:
                    break
        else:
            pytest.fail("the request is still waiting")
        assert waiting.control.control(0x1001) == 4


def test_a_stop_does_not_wait(tmp_path: Path) -> None:
    config = tmp_path / "vtgt.conf"
    config.write_text(all_devices(tmp_path), encoding="utf-8")
    with TargetProcess(config) as process:
        with use_up(process.address) as one, Association(process.address, SLOW) as other:
            other.queue.send(room_for((1,))[0])
            assert other.control.control(0x1001) == 4
            assert process.stop() == 0
            assert one.is_closed()
            assert other.is_closed()
        # Had a request been given up on, this would be in the log.
        assert process.log == []


def test_a_reload_does_not_wait(tmp_path: Path) -> None:
    config = tmp_path / "vtgt.conf"
    text = all_devices(tmp_path)
    config.write_text(text, encoding="utf-8")
    with TargetProcess(config) as process, use_up(process.address) as waiting:
        config.write_text(text.replace("bytes=10,", "bytes=20,"), encoding="utf-8")
        process.signal(signal.SIGHUP)
        line = process.line("event=reloaded")
        assert "changed=1" in line
        assert waiting.is_closed()
        assert not any("not-closed" in line for line in process.log)
        with Association(process.address, SLOW) as association:
            assert letters(association, 20) == b"ABCDEFGHIJKLMNOPQRST"
        assert process.stop() == 0
