# SPDX-License-Identifier: BSD-3-Clause
"""What a session agrees on with a target over RDMA: transport features, and eager buffers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.support.loopback import Background
from tests.support.scripted_link import Message
from tests.unit.fabric.queue_rig import buffer_of
from tests.unit.fabric.rdma.keyed_rig import KeyedRig
from vof.errors import CompletionError, ConfigError, RemoteProtocolError
from vof.initiator.control import ControlQueue
from vof.initiator.parameters import SessionParameters
from vof.initiator.transports import Connections, connections_of
from vof.wire.connect import Names
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect
from vof.wire.v5 import MAX_KEYED_DESCS

GET_FEATURE, SET_FEATURE = 4, 5
GET_NUM_DESCS, GET_EAGER_BUF = 0x0100, 0x0102
NUM_DESCS, EAGER_BUF = 1, 2


def connections(parameters: SessionParameters, dialect: Dialect = V5) -> Connections:
    portal = parameters.portals[0]
    return connections_of(portal, parameters, dialect, portal.destination(10.0))


class Agreement:
    """One association's connections, with a control queue and a virtqueue; its target's answers
    are the test's."""

    def __init__(self, dialect: Dialect = V5, *, eager: bool = True) -> None:
        parameters = SessionParameters(tvqn="t", transport="rdma", eager=eager)
        self.connections = connections(parameters, dialect)
        self.rig = KeyedRig(dialect.framing)
        self.virtqueue = KeyedRig(dialect.framing)
        self.control = ControlQueue(self.rig.queue, dialect)

    def close(self) -> None:
        self.rig.close()
        self.virtqueue.close()

    def expect(self, opcode: int) -> Message:
        message = self.rig.far.receive()
        assert message.opcode == opcode
        return message

    def reply(self, message: Message, value: int = 0, status: int = 0) -> None:
        """Complete a command; the value is where feature bits have theirs, or else at 4."""
        place = "<HH4xQ" if message.opcode in (GET_FEATURE, SET_FEATURE) else "<HHI8x"
        data = struct.pack(place, status, message.command_id, value)
        self.rig.far.send(data)

    def agree(self, offered: int, num_descs: int = 1) -> int:
        """Agree on features with a target that offers these; return those it is told."""
        agreed = Background(self.connections.agree, self.control)
        message = self.expect(GET_FEATURE)
        assert message.data[4:16] == bytes(12)
        self.reply(message, offered)
        message = self.expect(SET_FEATURE)
        self.reply(message)
        (chosen,) = struct.unpack("<Q", message.data[8:16])
        if chosen & NUM_DESCS:
            # One value for the whole device.
            self.reply(self.expect(GET_NUM_DESCS), num_descs)
        agreed.result()
        return int(chosen)

    def set_up(self) -> Background[None]:
        return Background(self.connections.set_up, self.control, 3, self.virtqueue.queue)

    def expose(self, *buffers: tuple[int, int, int], count: int | None = None) -> Background[None]:
        """Set the virtqueue up with a target that exposes these buffers."""
        doing = self.set_up()
        message = self.expect(GET_EAGER_BUF)
        assert message.data[4:7] == b"\x03\0" + bytes([MAX_KEYED_DESCS])
        [room] = message.keyed()
        assert room.length == 16 * MAX_KEYED_DESCS
        self.rig.far.write(room, b"".join(struct.pack("<QII", *buffer) for buffer in buffers))
        self.reply(message, len(buffers) if count is None else count)
        return doing

    def sends_eagerly(self) -> bool:
        """Whether a request goes through the eager buffers."""
        pending = self.virtqueue.submit([b"x" * 100], [buffer_of(1)])
        return bool(self.virtqueue.far.receive().writes) or pending.done


@pytest.fixture
def agreement(leaves_nothing: None) -> Iterator[Agreement]:
    agreement = Agreement()
    yield agreement
    agreement.close()


@pytest.mark.clause("v5 Get Feature 1", "initiator")
@pytest.mark.clause("v5 Get Feature 3", "initiator")
@pytest.mark.clause("v5 Set Feature 1", "initiator")
@pytest.mark.clause("v5 Get Keyed Number of Descriptors 1", "initiator")
@pytest.mark.clause("v5 Get Feature 2", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 2", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 3", "initiator")
def test_all_that_both_have(agreement: Agreement) -> None:
    assert agreement.agree(0xFF) == NUM_DESCS | EAGER_BUF
    agreement.expose((0x1000, 4096, 7), (0x9000, 4096, 8)).result()
    assert agreement.sends_eagerly()


@pytest.mark.clause("v5 Get Feature 2", "initiator")
def test_eager_off(leaves_nothing: None) -> None:
    agreement = Agreement(eager=False)
    assert agreement.agree(NUM_DESCS | EAGER_BUF) == NUM_DESCS
    agreement.set_up().result()
    assert not agreement.sends_eagerly()
    agreement.close()


@pytest.mark.clause("v5 Get Feature 2", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 1", "initiator")
def test_a_target_that_offers_nothing(agreement: Agreement) -> None:
    assert agreement.agree(0) == 0
    agreement.set_up().result()
    assert not agreement.sends_eagerly()
    assert agreement.rig.far.arrived.empty()


@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda dialect: dialect.name)
def test_dialects_that_have_no_such_features(leaves_nothing: None, dialect: Dialect) -> None:
    agreement = Agreement(dialect)
    agreement.connections.agree(agreement.control)
    agreement.set_up().result()
    assert agreement.rig.far.arrived.empty()
    agreement.close()


def test_a_target_without_memory_for_eager_buffers(agreement: Agreement) -> None:
    """Requests can do without."""
    agreement.agree(NUM_DESCS | EAGER_BUF)
    doing = agreement.set_up()
    agreement.reply(agreement.expect(GET_EAGER_BUF), status=12)
    doing.result()
    assert not agreement.sends_eagerly()


def test_no_eager_buffers_at_all(agreement: Agreement) -> None:
    agreement.agree(EAGER_BUF | NUM_DESCS)
    agreement.expose().result()
    assert not agreement.sends_eagerly()


def test_a_refused_num_descs(agreement: Agreement) -> None:
    agreed = Background(agreement.connections.agree, agreement.control)
    agreement.reply(agreement.expect(GET_FEATURE), NUM_DESCS)
    agreement.reply(agreement.expect(SET_FEATURE))
    agreement.reply(agreement.expect(GET_NUM_DESCS), status=1)
    with pytest.raises(CompletionError, match=r"get_keyed_num_descs .*unknown or disabled"):
        agreed.result()


def test_no_descriptors_allowed(agreement: Agreement) -> None:
    agreement.agree(NUM_DESCS, num_descs=0)
    doing = agreement.set_up()
    with pytest.raises(RemoteProtocolError, match="virtqueue 3: the target allows no keyed desc"):
        doing.result()


@pytest.mark.parametrize(
    ("buffers", "match"),
    [
        ([(0x1000, 0, 7)], "virtqueue 3: an eager buffer has length zero"),
        ([((1 << 64) - 16, 4096, 7)], "virtqueue 3: an eager buffer goes beyond the last address"),
        (
            [(n << 32, 0xFFFF_FFFF, 7) for n in range(3)],
            "virtqueue 3: the eager buffers add up to 12884901885 bytes",
        ),
        ([(0x1000, 4096, 7), (0x1800, 4096, 7)], "virtqueue 3: one eager buffer lies over another"),
    ],
    ids=["empty", "beyond", "too many bytes", "overlapping"],
)
def test_buffers_that_cannot_be(
    agreement: Agreement, buffers: list[tuple[int, int, int]], match: str
) -> None:
    agreement.agree(NUM_DESCS | EAGER_BUF)
    doing = agreement.expose(*buffers)
    with pytest.raises(RemoteProtocolError, match=match):
        doing.result()


def test_the_most_buffers(agreement: Agreement) -> None:
    agreement.agree(NUM_DESCS | EAGER_BUF)
    agreement.expose(*((n << 20, 4096, n) for n in range(MAX_KEYED_DESCS))).result()
    assert agreement.sends_eagerly()


def test_a_count_of_buffers_that_were_not_written(agreement: Agreement) -> None:
    """What stood in our memory before, a Connect's names, is not taken for buffers."""
    connected = Background(agreement.control.connect, Names("i" * 255, "t" * 255))
    agreement.reply(agreement.rig.far.receive())
    connected.result()
    agreement.agree(NUM_DESCS | EAGER_BUF)
    doing = agreement.expose(count=2)
    with pytest.raises(RemoteProtocolError, match="has length zero"):
        doing.result()


def test_no_port_left() -> None:
    parameters = SessionParameters(tvqn="t", transport="rdma", iport=65535)
    with pytest.raises(ConfigError, match="iport=65535: no port is left for virtqueue 0"):
        connections(parameters).open("virtqueue 0", 1, 16, lambda _queue, _error, _lost: None)
