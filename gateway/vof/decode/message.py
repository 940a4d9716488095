# SPDX-License-Identifier: BSD-3-Clause
"""The record of one thing that was seen: what ``vofctl decode`` prints a line or an object of.

Owns the form of values that have a number and a name. Must not know what any of them means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias


class Direction(Enum):
    """The end that said it."""

    I2T = "i2t"
    """The initiator, to the target."""
    T2I = "t2i"

    @property
    def other(self) -> Direction:
        """The opposite direction."""
        return Direction.T2I if self is Direction.I2T else Direction.I2T


class Kind(Enum):
    """The kinds of message."""

    CAPTURE = "capture"
    """The beginning of the file."""
    CONNECTION = "connection"
    """A connection was seen first."""
    COMMAND = "command"
    COMPLETION = "completion"
    EVENT = "event"
    """An asynchronous event: a completion that belongs to no command."""
    READ = "read"
    """Bytes that the target read by key."""
    WRITE = "write"
    """Bytes that were written by key."""
    LOST = "lost"
    """Bytes that are not in the capture, or in which no message could be found."""
    CLOSED = "closed"
    """An end of the connection."""
    NOTE = "note"
    """What a recording says of itself."""


UNKNOWN = "unknown"
"""The name of a number that has none."""


class Named(NamedTuple):
    """A number that has a name."""

    value: int
    name: str


class Bits(NamedTuple):
    """A number whose bits have names."""

    value: int
    names: tuple[str, ...]


Value: TypeAlias = "int | str | Named | Bits | Sequence[Value] | Mapping[str, Value]"


class Where(NamedTuple):
    """The place in the file at which something was complete."""

    number: int
    """Of the packet, or of the line of a recording; counted from 1."""
    time: int | None = None
    """Nanoseconds since 1970; None where the file does not tell."""


class Bytes(NamedTuple):
    """Bytes that were carried: payload, or data that moved by key."""

    data: bytes
    """Zeros stand for what is missing."""
    missing: tuple[range, ...] = ()
    """The places in ``data`` that the capture does not have."""
    secret: tuple[range, ...] = ()
    """The places that may hold a key."""

    def has(self, start: int, end: int) -> bool:
        """True if the bytes from ``start`` to ``end`` are all there."""
        return end <= len(self.data) and not any(
            hole.start < end and start < hole.stop for hole in self.missing
        )

    @property
    def lost(self) -> int:
        """The number of bytes that are missing."""
        return sum(map(len, self.missing))


NO_BYTES = Bytes(b"")


@dataclass(slots=True)
class Message:
    """One thing that was seen."""

    kind: Kind
    where: Where
    connection: int | None = None
    """Connections are numbered from 0 as they were seen first."""
    queue: str = ""
    """``control``, the index of a virtqueue, or empty while it is not known."""
    direction: Direction | None = None
    name: str = ""
    """The command's, as the specification spells it; also of its completion."""
    command_id: int | None = None
    fields: dict[str, int] = field(default_factory=dict)
    """The numbers in its structure, by the specification's names, but for reserved bytes."""
    descriptors: list[dict[str, int]] = field(default_factory=list)
    decoded: dict[str, Value] = field(default_factory=dict)
    """What that means."""
    answers: Where | None = None
    """The command that a completion belongs to."""
    problems: list[str] = field(default_factory=list)
    """What the protocol forbids, and what could not be followed."""
    head: bytes = b""
    """The structure and its descriptors as they were sent."""
    payload: Bytes = NO_BYTES


def named(kind: type[Enum], value: int, *, lower: bool = False) -> Named:
    """Return a number with the name of the enum's member that has it, or none."""
    try:
        name = kind(value).name
    except ValueError:
        name = UNKNOWN
    return Named(value, name.lower() if lower else name)


def bits(value: int, *kinds: Iterable[Enum], first: int = 0) -> Bits:
    """Return a number with the names of its bits; those that none of the flags has by position,
    where the lowest is number ``first``."""
    known = {int(flag.value): str(flag.name) for kind in kinds for flag in kind}
    ones = [1 << place for place in range(value.bit_length()) if value >> place & 1]
    return Bits(value, tuple(known.get(one, f"bit {first + one.bit_length() - 1}") for one in ones))


def plain(value: Value) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, Named):
        return {"value": value.value, "name": value.name}
    if isinstance(value, Bits):
        return {"value": value.value, "names": list(value.names)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value
