# SPDX-License-Identifier: BSD-3-Clause
"""Framing of the stream transport (TCP): commands and completions in, in any fragmentation.

A vring command is followed by ``ndesc`` segment descriptors and by the device-readable bytes in
descriptor order; its completion by the device-writable descriptors that come back and by their
bytes (*proposal*, examples 1.1 and 1.2). A stream begins behind its Connect: that is ``connect``'s.

The parsers are pure. Bytes reach them in two ways: ``feed`` takes what was received anywhere; where
a parser knows where the next bytes belong, ``destinations`` lends those buffers so that a receive
can write straight into them, and ``advance`` tells how much it wrote. Both return what was
completed by it.

Must not know sockets, sessions or device types. A peer's mistake is a RemoteProtocolError; a parser
that raised one is not to be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Generic, NamedTuple, TypeVar

from vof.errors import RemoteProtocolError
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.dialect import Dialect, Framing, next_flag, vring_of
from vof.wire.layout import layout_of
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Buffer,
    Completion,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)

_WRITE = int(DescriptorFlag.WRITE)
_KEYED = int(DescriptorFlag.KEYED)

_ON_A_STREAM = frozenset({Command.VRING, Command.VQ})
"""The commands that carry a virtio request here."""

_DESCRIPTOR = layout_of(SegmentDescriptor)

_E = TypeVar("_E")


class _StreamParser(Generic[_E]):
    """The part of a parser that both directions share: a head, its descriptors, and then buffers to
    fill."""

    def __init__(self, head_size: int) -> None:
        self._head_size = head_size
        self._begun = False  # the head of a message was taken, and its end not yet
        self._need = head_size  # bytes of the fixed part that comes next: head or descriptors
        self._stash = bytearray()  # what arrived of that part, if it did not arrive whole
        self._fill: list[memoryview] = []  # where the bytes after the descriptors belong

    @property
    def idle(self) -> bool:
        """True between two messages: an end of the stream here cuts nothing off."""
        return not self._begun and not self._stash

    def _head(self, part: Buffer) -> int:
        """Take the head of a message; return the number of descriptors that follow it."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _descriptors(self, part: Buffer) -> list[memoryview]:
        """Take all descriptors of a message; return the buffers to fill after them."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _finish(self) -> _E:
        """Return the message that is now complete."""
        raise NotImplementedError  # pragma: no cover - abstract

    def destinations(self) -> Sequence[memoryview]:
        """Return the buffers the next bytes belong into, in order; empty if not known yet."""
        return self._fill

    def advance(self, count: int) -> list[_E]:
        """Note that ``count`` bytes were received straight into ``destinations()``."""
        if not count:
            return []
        fill = self._fill
        while count:
            size = len(fill[0])
            if count < size:
                fill[0] = fill[0][count:]
                break
            count -= size
            del fill[0]
        return [] if fill else [self._end()]

    def feed(self, data: Buffer) -> list[_E]:
        """Take the next bytes of the stream; return the messages they complete, in order."""
        view = memoryview(data)
        done: list[_E] = []
        place, end = 0, len(view)
        while place < end:
            if self._fill:
                target = self._fill[0]
                count = min(len(target), end - place)
                target[:count] = view[place : place + count]
                place += count
                done += self.advance(count)
                continue
            missing = self._need - len(self._stash)
            if end - place < missing:
                self._stash += view[place:]
                break
            part = view[place : place + missing]
            place += missing
            if self._stash:
                self._stash += part
                self._take(self._stash)
                self._stash.clear()
            else:
                self._take(part)
            if not self._need and not self._fill:
                done.append(self._end())
        return done

    def _take(self, part: Buffer) -> None:
        if self._begun:
            self._fill = self._descriptors(part)
            self._need = 0
        else:
            self._begun = True
            self._need = self._head(part) * DESCRIPTOR_SIZE

    def _end(self) -> _E:
        self._begun = False
        self._need = self._head_size
        return self._finish()


class Arrival(NamedTuple):
    """A completion with everything that came with it."""

    completion: Completion
    lengths: Sequence[int]
    """Bytes returned for each device-writable buffer of the command, in the command's order; empty
    where the target refused the command and returned none."""

    @property
    def used(self) -> int:
        """Bytes that the device says it has written: virtio's used length. More may have come back,
        which then says nothing."""
        return self.completion.value & 0xFFFF_FFFF


class Expected(NamedTuple):
    """The place for the answer to a command."""

    first_id: int = 0
    """Descriptor id of the first device-writable buffer: the place of its descriptor in the
    command, as ``encode_vring`` numbers them."""
    buffers: Sequence[memoryview] = ()
    """The device-writable buffers; none for a command without any."""
    tail: int = 0
    """Bytes at their end that every answer has, whatever else was written: a status."""


class CompletionParser(_StreamParser[Arrival]):
    """The initiator's end: completions, their data received into the commands' own buffers.

    ``expect`` is called with the command id of each completion; it raises RemoteProtocolError where
    no such command is in flight.

    ``refusal_carries_buffers`` is the reference target's way to refuse a vring command: ``ndesc``
    0, yet all device-writable descriptors and their bytes follow.
    """

    def __init__(
        self,
        expect: Callable[[int], Expected],
        *,
        refusal_carries_buffers: bool = False,
    ) -> None:
        super().__init__(COMPLETION_SIZE)
        self._expect = expect
        self.refusal_carries_buffers = refusal_carries_buffers
        self._completion = Completion(status=0, command_id=0)
        self._first_id = 0
        self._buffers: Sequence[memoryview] = ()
        self._tail = 0
        self._lengths: list[int] = []

    def _head(self, part: Buffer) -> int:
        completion = unpack(Completion, part)
        self._first_id, self._buffers, self._tail = self._expect(completion.command_id)
        self._completion = completion
        return self._begin(part)

    def _begin(self, part: Buffer) -> int:
        """Look at what the completion says of its command's buffers; return the number of
        descriptors that follow."""
        completion = self._completion
        count = completion.ndesc
        if completion.status and not count:
            return len(self._buffers) if self.refusal_carries_buffers else 0
        if count != len(self._buffers):
            raise RemoteProtocolError(
                f"completion of command id {completion.command_id} has {count} descriptors "
                f"where the command has {len(self._buffers)} device-writable ones"
            )
        return count

    def _descriptors(self, part: Buffer) -> list[memoryview]:
        buffers = self._buffers
        lengths = [-1] * len(buffers)
        fill = []
        for _addr, length, ident, _flags, _key, _pad in _DESCRIPTOR.iter_unpack(part):
            index = ident - self._first_id
            if not 0 <= index < len(buffers) or lengths[index] >= 0:
                raise RemoteProtocolError(
                    f"completion returns descriptor id {ident}, which is not an open "
                    "device-writable descriptor of its command"
                )
            if length > len(buffers[index]):
                raise RemoteProtocolError(
                    f"completion returns {length} bytes for descriptor id {ident}, which has room "
                    f"for {len(buffers[index])}"
                )
            lengths[index] = length
            if length:
                fill.append(buffers[index][:length])
        self._lengths = lengths
        return fill

    def _finish(self) -> Arrival:
        arrival = Arrival(self._completion, self._lengths)
        self._buffers, self._lengths = (), []
        return arrival


class StreamLimits(NamedTuple):
    """The limits of one vring command, beyond which a target calls it a violation."""

    max_ndesc: int
    max_transfer: int
    """Bytes: the most that the lengths of one command's descriptors may add up to."""


class ReceivedCommand(NamedTuple):
    """A command with everything that came with it."""

    opcode: int
    command_id: int
    head: bytes
    """The 16 bytes of the command; ``unpack`` them as the structure that belongs to ``opcode``."""
    descriptors: Sequence[SegmentDescriptor]
    payload: memoryview
    """The device-readable bytes, in order."""
    in_length: int = 0
    """Device-writable bytes."""
    is_request: bool = False
    """It carries a virtio request; else it is a control command."""


_NO_PAYLOAD = memoryview(b"")


class CommandParser(_StreamParser[ReceivedCommand]):
    """The target's end: commands of one connection, bounded by ``limits``.

    At most ``limits.max_transfer`` plus the descriptors are held at a time. Raises
    RemoteProtocolError for an unknown opcode, a number or sum of descriptors beyond the limits, a
    descriptor of length zero or, in *v2*, a keyed one, an id used twice in a command, or a Connect.
    """

    def __init__(self, dialect: Dialect, limits: StreamLimits) -> None:
        super().__init__(COMMAND_SIZE)
        self._dialect = dialect
        self._limits = limits
        self._opcode = self._command_id = 0
        self._head_bytes = b""
        self._descs: Sequence[SegmentDescriptor] = ()
        self._payload = _NO_PAYLOAD

    def _head(self, part: Buffer) -> int:
        self._opcode, self._command_id = HEAD.unpack_from(part)
        self._head_bytes = bytes(part)
        command = self._dialect.commands.get(self._opcode)
        if command is Command.CONNECT:
            raise RemoteProtocolError("a second Connect on one connection")
        if command is not None:
            return self._body(command, part)
        return self._unknown()

    def _unknown(self) -> int:
        """Take an opcode that there is not; return the number of descriptors that follow."""
        raise RemoteProtocolError(
            f"opcode {self._opcode:#06x} is not one of dialect {self._dialect.name}"
        )

    def _body(self, command: Command, part: Buffer) -> int:
        """Look at what follows a command; return the number of descriptors."""
        if command is not Command.VRING:
            return 0
        ndesc = unpack(VringCommand, part).ndesc
        if not 0 < ndesc <= self._limits.max_ndesc:
            raise RemoteProtocolError(
                f"a vring command has {ndesc} descriptors; 1 to {self._limits.max_ndesc} are "
                "allowed"
            )
        return ndesc

    def _descriptors(self, part: Buffer) -> list[memoryview]:
        descs = [SegmentDescriptor._make(fields) for fields in _DESCRIPTOR.iter_unpack(part)]
        self._check_vring(descs)
        self._descs = descs
        readable = sum(desc.length for desc in descs if not desc.flags & _WRITE)
        if not readable:
            return []
        self._payload = memoryview(bytearray(readable))
        return [self._payload]

    def _check_vring(self, descs: Sequence[SegmentDescriptor]) -> None:
        total = sum(desc.length for desc in descs)
        if total > self._limits.max_transfer:
            raise RemoteProtocolError(
                f"the descriptors of a command add up to {total} bytes; at most "
                f"{self._limits.max_transfer} are allowed"
            )
        if not all(desc.length for desc in descs):
            raise RemoteProtocolError("a descriptor has length zero")
        if len({desc.id for desc in descs}) != len(descs):
            raise RemoteProtocolError("a descriptor id is used twice in one command")
        keyed = self._dialect.framing is Framing.SEGMENTS and _KEYED
        if keyed and any(desc.flags & keyed for desc in descs):
            raise RemoteProtocolError("a keyed descriptor on a stream")

    def _finish(self) -> ReceivedCommand:
        command = ReceivedCommand(
            self._opcode,
            self._command_id,
            self._head_bytes,
            self._descs,
            self._payload,
            sum(desc.length for desc in self._descs if desc.flags & _WRITE),
            self._dialect.commands.get(self._opcode) in _ON_A_STREAM,
        )
        self._descs, self._payload = (), _NO_PAYLOAD
        return command


@lru_cache(maxsize=256)
def _vring_layout(ndesc: int) -> Struct:
    return Struct("<HHIH6x" + "QIHHI4x" * ndesc)


def encode_vring(
    framing: Framing, command_id: int, readable: Sequence[int], writable: Sequence[int]
) -> bytes:
    """Return a vring command and its descriptors, the readable before the writable ones.

    ``readable`` and ``writable`` are the lengths in bytes; descriptor ids count from 0. ``length``
    is the sum of the readable bytes, which follow the returned ones on the stream (*proposal*, 1.1
    and 1.2).
    """
    ndesc = len(readable) + len(writable)
    chained = next_flag(framing)
    fields: list[int] = []
    addr = ident = 0
    for length in readable:
        fields += (addr, length, ident, chained, 0)
        addr += length
        ident += 1
    payload, addr = addr, 0
    for length in writable:
        fields += (addr, length, ident, chained | _WRITE, 0)
        addr += length
        ident += 1
    fields[-2] &= ~chained
    return _vring_layout(ndesc).pack(vring_of(framing), command_id, payload, ndesc, *fields)


def encode_vring_completion(
    status: int, command_id: int, returned: Sequence[tuple[SegmentDescriptor, int]]
) -> bytes:
    """Return the completion of a vring command and the descriptors that come back with it.

    ``returned`` pairs each device-writable descriptor of the command with the bytes written into
    it, which follow the returned ones on the stream. ``value.u32`` is their sum.
    """
    descriptors = []
    addr = 0
    for descriptor, length in returned:
        descriptors.append(_DESCRIPTOR.pack(addr, length, descriptor.id, descriptor.flags, 0, b""))
        addr += length
    head = Completion(status=status, command_id=command_id, ndesc=len(returned), value=addr)
    return pack(head) + b"".join(descriptors)
