# SPDX-License-Identifier: BSD-3-Clause
"""The one place that knows how the published revisions of the protocol differ.

Three revisions exist. They number the transports and two opcodes differently, and later ones add
ways to carry a virtqueue's buffers. A dialect belongs to an association: an initiator says by the
``oftype`` of its Connect whether it is *proposal* or a later one, and by the first request on a
virtqueue which of the later ones (ours: they have the same numbers).

``auto`` begins as the latest. A target of the *proposal* refuses the ``oftype`` that it does not
know, and is connected to once more as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from vof.errors import ConfigError
from vof.wire.constants import LaterOpcode, Opcode, Transport, TransportFeature
from vof.wire.structs import Buffer, CommonCommand, StatusCommand, pack, unpack


class Framing(Enum):
    """What carries a virtqueue's request."""

    SEGMENTS = "segments"
    """*proposal* and *v2*: the vring command, with a descriptor for each segment."""
    LENGTHS = "lengths"
    """*v5*: the vq command, with a length for each direction."""


@dataclass(frozen=True)
class Dialect:
    """Numbers and forms of one revision."""

    name: str
    oftype_tcp: int
    """``oftype`` of a Connect over TCP."""
    oftype_rdma: int
    """``oftype`` of a Connect over RDMA."""
    get_feature: int
    """Opcode: get a transport feature."""
    set_feature: int
    """Opcode: set a transport feature."""
    framing: Framing = Framing.SEGMENTS
    """How a virtqueue's requests travel."""
    has_max_segs: bool = True
    """The transport feature 0 is a number, the largest ndesc of a vring command; else the features
    are bits."""
    status_after_id: bool = True
    """set_status has its value right behind the command id, as both known programs do, and not
    where struct virtio_of_command_common has it."""
    has_async_events: bool = False
    """The target may send completions that belong to no command on the control queue."""
    transport_features: int = 0
    """The transport feature bits there are: ``TransportFeature``."""

    def oftype(self, transport: Transport) -> int:
        """Return the ``oftype`` of a Connect over ``transport``."""
        return self.oftype_tcp if transport is Transport.TCP else self.oftype_rdma

    @property
    def keyed_opcodes(self) -> frozenset[int]:
        """The control commands of keyed transmission alone."""
        if not self.transport_features:
            return frozenset()
        return frozenset({LaterOpcode.GET_KEYED_NUM_DESCS, LaterOpcode.GET_KEYED_EAGER_BUF})

    @property
    def plain_opcodes(self) -> frozenset[int]:
        """The opcodes that a target knows of commands which, on a stream, are their 16 bytes
        alone."""
        known = frozenset(map(int, Opcode)) | {self.get_feature, self.set_feature}
        return (known | self.keyed_opcodes) - {Opcode.CONNECT, Opcode.VRING}

    @property
    def request_opcodes(self) -> frozenset[int]:
        """The opcodes of a virtqueue's requests, on a stream and keyed."""
        if self.framing is Framing.SEGMENTS:
            return frozenset({Opcode.VRING})
        return frozenset({LaterOpcode.VQ, LaterOpcode.VQ_KEYED_EAGER_BUF})

    @cached_property
    def opcodes(self) -> frozenset[int]:
        """All opcodes that there are."""
        return self.plain_opcodes | self.request_opcodes | {int(Opcode.CONNECT)}

    def encode_set_status(self, command_id: int, status: int) -> bytes:
        """Return a set_status command."""
        if self.status_after_id:
            return pack(StatusCommand(Opcode.SET_STATUS, command_id, status))
        return pack(CommonCommand(Opcode.SET_STATUS, command_id, value=status))

    def decode_set_status(self, head: Buffer) -> int:
        """Return the device status that a set_status command carries."""
        if self.status_after_id:
            return unpack(StatusCommand, head).status & 0xFF
        return unpack(CommonCommand, head).value & 0xFF


PROPOSAL = Dialect("proposal", oftype_tcp=0, oftype_rdma=1, get_feature=3, set_feature=4)
"""What the reference target and the Linux initiator speak."""

V2 = Dialect(
    "v2",
    oftype_tcp=1,
    oftype_rdma=2,
    get_feature=4,  # ours, as in the later revision
    set_feature=5,
    has_max_segs=False,
    status_after_id=False,
    has_async_events=True,
)
"""The command set of *v2*."""

V5 = Dialect(
    "v5",
    oftype_tcp=1,
    oftype_rdma=2,
    get_feature=4,
    set_feature=5,
    framing=Framing.LENGTHS,
    has_max_segs=False,
    status_after_id=False,
    has_async_events=True,
    # A number: the complement of a flag knows no other bits.
    transport_features=int(TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF),
)
"""*v5*, with the vq command in place of the vring command."""

DIALECTS = (PROPOSAL, V2, V5)

AUTO = "auto"

FEATURE_SELECT_MAX_SEGS = 0
"""``feature_select`` of the proposal's transport feature: the most descriptors of one command."""

FEATURE_SELECT_BITS = 0
"""``feature_select`` of the later ones' transport feature bits."""

DIALECT_NAMES = (AUTO, *(dialect.name for dialect in DIALECTS))


def dialects_by_name(name: str) -> Sequence[Dialect]:
    """Return the dialects to connect as, in this order, where a user says ``name``.

    Raises ConfigError with the names there are.
    """
    if name == AUTO:
        return (V5, PROPOSAL)
    for dialect in DIALECTS:
        if dialect.name == name:
            return (dialect,)
    raise ConfigError(f"dialect={name}: not known; use one of {', '.join(DIALECT_NAMES)}")


def dialects_by_oftype(transport: Transport, oftype: int) -> tuple[Dialect, ...]:
    """Return the dialects that an initiator may speak whose Connect over ``transport`` has this
    ``oftype``; empty for one that none has there."""
    return tuple(dialect for dialect in DIALECTS if dialect.oftype(transport) == oftype)
