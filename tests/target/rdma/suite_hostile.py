# SPDX-License-Identifier: BSD-3-Clause
"""Initiators that break the protocol over RDMA, or are gone: their association ends, with one log
line, and nobody else's does. Runs inside a guest: see `tests.guest.scenario_target_rdma`.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.keyed_messages import keyed_request
from tests.target.conftest import Log, address_of
from tests.target.peer import BLOCK1, FLUSH, IN, OK, OUT
from tests.target.rdma.association import EAGER_BUF, NUM_DESCS, KeyedAssociation
from tests.target.rdma.conftest import EAGER, Attach, rdma_config
from tests.target.rdma.keyed_peer import Closed, KeyedPeer, Refused
from vof.target.config import parse
from vof.target.server import Target
from vof.wire.constants import Command
from vof.wire.dialect import PROPOSAL, V5, Dialect
from vof.wire.keyed import encode_eager
from vof.wire.v5 import KeyedDescriptor

ALL = NUM_DESCS | EAGER_BUF
DATA = bytes(range(256)) * 4
Victim = tuple[KeyedAssociation, list[KeyedDescriptor]]
"""An association, and the eager buffers of its first queue."""

RESET, KEEPALIVE = 0, struct.pack("<HH12x", 2, 77)


@pytest.fixture(scope="module")
def bystander(address: tuple[str, int]) -> Iterator[Victim]:
    """An initiator that does nothing wrong, and its eager buffers."""
    with KeyedAssociation(address, BLOCK1, features=ALL) as association:
        yield association, association.control.eager_buffers(0)


@pytest.fixture(autouse=True)
def innocent(bystander: Victim) -> Iterator[None]:
    """Its work goes on whatever a test does."""
    association, buffers = bystander
    yield
    data = random.randbytes(512)
    assert association.queue.eager_request(buffers, 0, OUT, 9, data) == (OK, b"")
    assert association.queue.request(IN, 9, room=512) == (OK, data)


def check_ended(association: KeyedAssociation, log: Log, words: str) -> None:
    """All connections are closed, and one line says why."""
    assert association.is_closed()
    (line,) = log.lines("violation")
    assert words in line
    assert "peer=10." in line
    assert f"tvqn={association.tvqn}" in line


# Memory that is not the initiator's to name.


def bad_memory(peer: KeyedPeer) -> dict[str, KeyedDescriptor]:
    part = peer.memory.part(65536, 512)
    end = len(peer.memory.view)
    closed = peer.register(4096)
    gone = closed.part(0, 512)
    closed.region.close()
    return {
        "a wrong key": part._replace(key=part.key ^ 0x5A),
        "key 0": part._replace(key=0),
        "beyond the region": peer.memory.part(end - 511, 512),
        "before the region": part._replace(addr=peer.memory.address - 512),
        "the last address": part._replace(addr=(1 << 64) - 512),
        "a region that is closed": gone,
    }


MEMORY = [
    "a wrong key",
    "key 0",
    "beyond the region",
    "before the region",
    "the last address",
    "a region that is closed",
]


@pytest.mark.parametrize(
    ("dialect", "name"), [(PROPOSAL, MEMORY[0]), *((V5, name) for name in MEMORY)]
)
@pytest.mark.parametrize("readable", [True, False], ids=["readable", "writable"])
def test_bad_memory(
    attach: Attach, log: Log, dialect: Dialect, name: str, *, readable: bool
) -> None:
    association = attach(dialect=dialect, queues=2)
    queue = association.queue
    queue.request_message(OUT if readable else IN, 9)
    head, status, bad = queue.memory.part(4096, 16), queue.memory.part(4112, 1), bad_memory(queue)
    sides = ([head, bad[name]], [status]) if readable else ([head], [bad[name], status])
    queue.send(queue.encode(1, *sides))
    check_ended(association, log, "does not let us use the memory that it named")


def test_a_connect_body_that_is_not_there(address: tuple[str, int], log: Log) -> None:
    with KeyedPeer(address) as peer:
        message = bytearray(peer.connect_message())
        message[32:36] = bytes(4)
        assert peer.send(bytes(message)).is_closed()
    (line,) = log.lines("violation")
    assert "does not let us use the memory that it named" in line


# The target's memory.


def lost(peer: KeyedPeer) -> bool:
    """Whether what was posted last has failed."""
    try:
        peer.message()
    except Closed:
        return True
    return False


@pytest.fixture
def victim(attach: Attach) -> Victim:
    association = attach(features=ALL)
    return association, association.control.eager_buffers(0)


@pytest.mark.parametrize("same_initiator", [True, False])
def test_the_buffers_of_another_queue(
    attach: Attach, victim: Victim, log: Log, *, same_initiator: bool
) -> None:
    """Each connection has its own protection domain."""
    association, buffers = victim
    request = association.queue.eager_message(buffers, 0, OUT, 3, DATA)
    association.queue.send(KEEPALIVE)  # behind the writes
    association.queue.completion()
    offender = association.add_queue(1) if same_initiator else attach(features=ALL).queue
    piece = buffers[0]._replace(length=4096)
    assert lost(offender.write(piece, 0))
    assert offender.is_closed()
    # Only that queue is lost, and nothing was written.
    assert association.queue.send(request).lengths() == (0, 1, 1)
    assert association.queue.request(IN, 3, room=len(DATA)) == (OK, DATA)
    assert not log.lines("violation")


@pytest.mark.parametrize("name", ["beyond its end", "a wrong key", "a read"])
def test_what_an_initiator_may_not_do_with_its_own_buffers(victim: Victim, name: str) -> None:
    association, buffers = victim
    queue, last = association.queue, buffers[-1]
    if name == "beyond its end":
        queue.write(last._replace(addr=last.addr + 1), 0)
    elif name == "a wrong key":
        queue.write(last._replace(key=last.key ^ 0x5A), 0)
    else:
        queue.read(last, 0)
    assert lost(queue)
    assert queue.is_closed()
    assert association.control.control(Command.GET_DEVICE_ID) == 2


def test_a_reset_revokes_the_keys(victim: Victim) -> None:
    association, buffers = victim
    assert association.queue.eager_request(buffers, 0, OUT, 0, DATA) == (OK, b"")
    association.control.set_status(RESET)
    after = association.control.eager_buffers(0)
    assert not {item.key for item in buffers} & {item.key for item in after}
    assert association.queue.eager_request(after, 0, OUT, 0, DATA) == (OK, b"")
    assert lost(association.queue.write(buffers[0], 0))


def test_a_lost_association_revokes_the_keys(attach: Attach, victim: Victim) -> None:
    association, buffers = victim
    association.control.close()
    assert association.queue.is_closed()
    offender = attach(features=ALL)
    assert not {item.key for item in offender.control.eager_buffers(0)} & {
        item.key for item in buffers
    }
    assert lost(offender.queue.write(buffers[0], 0))


# Commands.

Bad = Callable[[KeyedPeer, list[KeyedDescriptor]], list[bytes]]


def parts(peer: KeyedPeer, count: int) -> list[KeyedDescriptor]:
    return [peer.memory.part(65536 + 32 * place, 16) for place in range(count)]


BAD: dict[str, tuple[Bad, str]] = {
    "more descriptors than allowed": (
        lambda peer, _: [peer.encode(1, parts(peer, 64), parts(peer, 1))],
        "at most 64 keyed descriptors are allowed",
    ),
    "a total over the limit": (
        lambda peer, _: [
            peer.encode(1, parts(peer, 1), [KeyedDescriptor(0, 1 << 28, 1), *parts(peer, 1)])
        ],
        "add up to",
    ),
    "eager bytes outside": (
        lambda peer, _: [peer.eager_command(EAGER - 15, 16)],
        "are not within the 65536 bytes",
    ),
    "an eager offset that overflows": (
        lambda peer, _: [peer.eager_command(0xFFFF_FFF0, 32)],
        "are not within the 65536 bytes",
    ),
    "eager bytes of a request in flight": (
        lambda peer, buffers: [
            peer.eager_message(buffers, 0, OUT, 0, bytes(4096), command_id=1),
            peer.eager_message(buffers, 4000, OUT, 8, bytes(4096), command_id=2, at=32768),
        ],
        "overlap those of a request in flight",
    ),
    "a message cut short": (
        lambda peer, _: [peer.request_message(FLUSH)[:-1]],
        "followed by 31 bytes",
    ),
    "a message too long": (
        lambda peer, _: [peer.request_message(FLUSH) + bytes(1)],
        "followed by 33 bytes",
    ),
    "a message that no receive has room for": (
        lambda _peer, _: [bytes(8192)],
        "a message of more than",
    ),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
def test_bad_commands(victim: Victim, log: Log, make: Bad, words: str) -> None:
    association, buffers = victim
    association.add_queue(1)
    for message in make(association.queue, buffers):
        association.queue.send(message)
    if "overlap" in words:
        # Unless the first one was answered already.
        for _ in range(100):
            try:
                association.queue.lengths()
                association.queue.lengths()
            except Closed:
                break
            for message in make(association.queue, buffers):
                association.queue.send(message)
    check_ended(association, log, words)


def test_an_eager_command_without_the_feature(attach: Attach, log: Log) -> None:
    association = attach(features=NUM_DESCS)
    peer = association.queue
    peer.send(encode_eager(1, 0, 16, [peer.memory.part(4096, 1)]))
    check_ended(association, log, "without the transport feature KEYED_EAGER_BUF")


def test_a_command_of_v5_on_an_association_of_the_proposal(attach: Attach, log: Log) -> None:
    association = attach(dialect=PROPOSAL)
    peer = association.queue
    peer.send(keyed_request(V5, 1, parts(peer, 1), parts(peer, 1)))
    check_ended(association, log, "opcode 0x0fff is not one of dialect proposal")


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("place", ["before Connect", "control", "queue"])
def test_garbage(address: tuple[str, int], attach: Attach, log: Log, seed: int, place: str) -> None:
    garbage = random.Random(seed).randbytes(7 * seed * seed + 1)
    if place == "before Connect":
        with KeyedPeer(address) as peer:
            assert peer.send(garbage).is_closed()
        assert len(log.lines("violation")) == 1
        return
    # In v5 a command that nobody knows is refused, and so is garbage that looks like one.
    association = attach(dialect=PROPOSAL)
    (association.control if place == "control" else association.queue).send(garbage)
    check_ended(association, log, "reason=")


def test_a_connect_that_is_refused_again_and_again(address: tuple[str, int], log: Log) -> None:
    with KeyedPeer(address) as peer:
        for _ in range(15):
            peer.send(peer.connect_message(tvqn="nobody"))
            assert peer.completion()[0] == 19
        assert peer.send(peer.connect_message(tvqn="nobody")).is_closed()
    assert "16 Connects were refused" in log.lines("violation")[0]


# Those who are gone, or stay and do nothing.


def test_gone_with_requests_in_flight(attach: Attach, log: Log) -> None:
    """In every way there is."""
    for leave in (KeyedPeer.disconnect, KeyedPeer.close):
        association = attach()
        for ident in range(24):
            at = 8192 * (1 + ident)
            message = association.queue.request_message(
                OUT, 8 * ident, bytes(4096), command_id=ident, at=at
            )
            association.queue.send(message)
        leave(association.queue)
        assert association.control.control(Command.GET_DEVICE_ID) == 2
        # It may be connected again once what it had in progress is over.
        deadline = time.monotonic() + 30
        with KeyedPeer(association.address, dialect=V5) as peer:
            while True:
                peer.send(peer.connect_message(association.target_id, 0))
                if (answer := peer.completion()).status == 0:
                    break
                assert answer.status == 16
                assert time.monotonic() < deadline
                peer.close()
                peer = KeyedPeer(association.address, dialect=V5)  # noqa: PLW2901
            assert peer.request(IN, room=512)[0] == OK
            peer.close()
    assert not log.lines("violation")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A target that waits for nobody, and has room for few."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    text = rdma_config(folder, handshake_timeout=2, send_timeout=2, connections=4)
    with Target(parse(text, "test.conf")) as target:
        yield address_of(target)


def test_one_that_says_nothing(impatient: tuple[str, int], log: Log) -> None:
    with KeyedPeer(impatient) as peer:
        assert peer.is_closed()
    (line,) = log.lines("handshake-timeout")
    assert "no Connect came in time" in line


@pytest.mark.parametrize("what", ["control commands", "requests"])
def test_one_that_never_returns_credits(impatient: tuple[str, int], log: Log, what: str) -> None:
    """It has a receive for its Connect, and for nothing else. Nothing is executed in vain without
    end: not more than the target has receives."""
    with KeyedPeer(impatient, dialect=V5, receives=1) as control:
        target_id = control.connect(keep=True)
        with KeyedPeer(impatient, dialect=V5, receives=1) as queue:
            queue.connect(target_id, 0, keep=True)
            if what == "requests":
                for ident in range(200):
                    queue.send(queue.request_message(FLUSH, command_id=ident))
                assert queue.is_closed()
            else:
                for ident in range(14):
                    control.send(struct.pack("<HH12x", 2, ident))
                assert control.is_closed()
    (line,) = log.lines("stalled")
    assert "took no data for 2 s" in line


def test_more_connections_than_there_may_be(impatient: tuple[str, int], log: Log) -> None:
    with KeyedAssociation(impatient, queues=3) as association:
        with pytest.raises(Refused):
            KeyedPeer(impatient)
        assert association.queue.request(IN, room=512)[0] == OK
        association.queues.pop().close()
    assert "4 connections are the limit" in log.lines("refused")[0]


def test_one_that_breaks_off_without_a_word(impatient: tuple[str, int], log: Log) -> None:
    """Its queue pair answers nothing any more. The target finds out when it has to answer."""
    with KeyedAssociation(impatient) as association:
        message = association.queue.request_message(IN, 0, b"", 4096)
        association.queue.send(message).break_off()
        deadline = time.monotonic() + 40
        try:
            while not (log.lines("closed") or log.lines("stalled")):
                assert time.monotonic() < deadline
                assert association.control.control(Command.GET_DEVICE_ID) == 2
        except Closed:
            # One that stalls ends the whole association.
            assert log.lines("stalled")
