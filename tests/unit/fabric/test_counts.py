# SPDX-License-Identifier: BSD-3-Clause
"""A queue counts its requests by name: how many, how much, how they ended, how long they took."""

from __future__ import annotations

import struct

import pytest

from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.counts import LATENCY_BOUNDS, MAX_KINDS, OTHER
from vof.errors import SessionLost
from vof.fabric.pending import Pending


def finish(rig: QueueRig, pending: Pending, answer: bytes) -> None:
    rig.queue.submit(pending)
    rig.far.sendall(answer)
    rig.queue.wait(pending)


def named(what: str, ident: int = 0, *buffers: memoryview) -> Pending:
    pending = command(ident, *buffers)
    pending.what = what
    return pending


def test_what_was_answered(rig: QueueRig) -> None:
    for size in (512, 4096):
        pending = named("read", 0, buffer_of(size))
        pending.data_bytes = size
        finish(rig, pending, completion(0, bytes(size)))
    finish(rig, named("flush"), completion(0))
    counts = rig.queue.counts()
    assert set(counts) == {"read", "flush"}
    assert counts["read"][:5] == (2, 4608, 0, 0, 0)
    assert sum(counts["read"].latencies) == 2
    assert counts["flush"].requests == 1
    assert counts["flush"].data_bytes == 0


def test_a_request_is_prepared_with_its_data_counted(rig: QueueRig) -> None:
    data, status = buffer_of(4096), buffer_of(1)
    pending = rig.queue.prepare("read", [16], [bytes(16)], [data, status], 1)
    assert pending is not None
    assert pending.data_bytes == 4096
    rig.queue.release(pending)
    pending = rig.queue.prepare("write", [16, 512, 512], [bytes(16), bytes(1024)], [status], 1)
    assert pending is not None
    assert pending.data_bytes == 1024


def test_the_time_it_took(rig: QueueRig) -> None:
    pending = named("read")
    rig.queue.submit(pending)
    # Longer than any answer over the loopback takes, and known to have passed.
    rig.far.settimeout(0.02)
    rig.receive_command()
    with pytest.raises(TimeoutError):
        rig.far.recv(1)
    rig.far.sendall(completion(0))
    rig.queue.wait(pending)
    count = rig.queue.counts()["read"]
    assert count.seconds >= 0.02
    place = count.latencies.index(1)
    assert LATENCY_BOUNDS[place] >= count.seconds > LATENCY_BOUNDS[place - 1]


def test_what_was_refused_is_told_apart(rig: QueueRig) -> None:
    pending = named("read")
    pending.data_bytes = 4096
    finish(rig, pending, struct.pack("<HHHHQ", 5, 0, 0, 0, 0))
    assert rig.queue.counts()["read"][:5] == (1, 0, 1, 0, 0)


def test_what_the_device_failed_is_told_afterwards(rig: QueueRig) -> None:
    finish(rig, named("read"), completion(0))
    rig.queue.count_failed("read")
    assert rig.queue.counts()["read"][:5] == (1, 0, 0, 1, 0)


def test_what_was_lost(rig: QueueRig) -> None:
    pending = named("read")
    pending.data_bytes = 4096
    rig.queue.submit(pending)
    rig.hang_up()
    with pytest.raises(SessionLost):
        rig.queue.wait(pending)
    count = rig.queue.counts()["read"]
    assert count[:5] == (1, 0, 0, 0, 1)
    assert not any(count.latencies)


def test_names_do_not_grow_without_end(rig: QueueRig) -> None:
    for number in range(2 * MAX_KINDS):
        finish(rig, named(f"name {number}"), completion(0))
    counts = rig.queue.counts()
    assert sum(count.requests for count in counts.values()) == 2 * MAX_KINDS
    assert counts[OTHER].requests > 1
    assert len(counts) <= MAX_KINDS
