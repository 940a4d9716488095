# SPDX-License-Identifier: BSD-3-Clause
"""The form of requests in keyed transmission: a message in registered memory, and what it names.

Everything of a request is one extent: the message, the device-readable bytes, the room for the
device-writable ones. In *v5* the latter two lie close together, so that one keyed descriptor covers
them: that is as many as every target takes. Where the virtqueue has an eager range and there is
room in it, the device-readable bytes are written there ahead of the message; otherwise a descriptor
names them and the target reads them.

Must not know what a request asks for, nor who sends it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import LocalProtocolError, RemoteProtocolError
from vof.fabric.rdma.eager import EagerRange, Lease
from vof.fabric.rdma.extents import ALIGNMENT, rounded
from vof.fabric.rdma.interface import Write
from vof.fabric.rdma.memory import SLAB_SIZE, Extent, Pool
from vof.wire.connect import Connect, Names, encode_body, encode_connect, encode_keyed_rest
from vof.wire.constants import Transport
from vof.wire.dialect import Framing
from vof.wire.keyed import (
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed_vq,
    encode_keyed_vring,
)
from vof.wire.structs import COMMAND_SIZE, CONNECT_BODY_SIZE, DESCRIPTOR_SIZE, Buffer
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE, MAX_KEYED_DESCS, KeyedDescriptor

MAX_SEGS = 1024
"""Segment descriptors of one message at most."""

MAX_PAYLOAD = (4 << 20) + (4 << 10)
"""Bytes that a request may carry, both directions together: 4 MiB of data and what a device type
adds. An extent has room for the message besides."""

assert MAX_PAYLOAD + rounded(COMMAND_SIZE + MAX_SEGS * DESCRIPTOR_SIZE) + ALIGNMENT <= SLAB_SIZE


_CONTROL_SIZE = 8 << 10
"""Bytes for the largest control command and its body."""


class Carriage:
    """The memory and the message of a command while it is in flight."""

    __slots__ = ("extent", "lease", "length", "room", "sizes", "writes")

    def __init__(self, extent: Extent, message: bytes, room: memoryview | None = None) -> None:
        extent.view[: len(message)] = message
        self.extent = extent
        self.length = len(message)
        """Bytes of the message, which begins the extent."""
        self.room = room
        """Where the device-writable bytes arrive, one buffer after the other."""
        self.sizes: Sequence[int] = ()
        """Bytes of the device-writable buffers."""
        self.writes: Sequence[Write] = ()
        """What goes to the target's memory ahead of the message."""
        self.lease: Lease | None = None


class KeyedForm:
    """The form of one queue's requests: by descriptors of ``framing``, or through the eager range
    that ``use_keyed`` may have brought."""

    def __init__(self, pool: Pool, framing: Framing) -> None:
        self.pool = pool
        self.framing = framing
        # Apart from what requests take, so that an end in good order waits for none of them.
        control = pool.take(_CONTROL_SIZE, wait=True)
        assert control is not None
        self._control = control
        self.eager: EagerRange | None = None
        self.eager_sent = self.eager_full = 0
        """Requests that went through the eager range, and those that did not fit there."""

    def use_keyed(self, num_descs: int, eager: EagerRange | None) -> None:
        """Keep to what the target says: at most ``num_descs`` keyed descriptors for a command, of
        which we need one, and the virtqueue's eager range."""
        if num_descs < 1:
            raise RemoteProtocolError("the target allows no keyed descriptors")
        self.eager = eager

    def request(
        self,
        what: str,
        command_id: int,
        readable: Sequence[int],
        payload: Sequence[Buffer],
        buffers: Sequence[memoryview],
        *,
        wait: bool,
        by_key: bool = False,
    ) -> Carriage | None:
        """Form a virtqueue's request; None where there is no memory for it now. ``by_key`` keeps it
        out of the eager range: the completion of such a one has no place for the size of a gap.

        The room for the device-writable ``buffers`` begins as they are: what nobody writes is not
        the rest of another request, and a status that nobody writes stays what it was.

        Raises LocalProtocolError for one that is larger than registered memory comes.
        """
        sizes = [len(buffer) for buffer in buffers]
        by_lengths = self.framing is Framing.LENGTHS
        if by_lengths:
            message_size = COMMAND_SIZE + KEYED_DESCRIPTOR_SIZE
        else:
            message_size = COMMAND_SIZE + (len(readable) + len(sizes)) * DESCRIPTOR_SIZE
        out_length, in_length = sum(readable), sum(sizes)
        out_place = rounded(message_size)
        in_place = out_place + (out_length if by_lengths else rounded(out_length))
        end = in_place + in_length
        if end > self.pool.largest:
            raise LocalProtocolError(
                f"{what} takes {end} bytes of registered memory; at most {self.pool.largest} are "
                "to be had in one piece"
            )
        extent = self.pool.take(end, wait=wait)
        if extent is None:
            return None
        view = extent.view
        place = out_place
        for part in payload:
            after = place + len(part)
            view[place:after] = part
            place = after
        assert place == out_place + out_length
        place = in_place
        for buffer in buffers:
            after = place + len(buffer)
            view[place:after] = buffer
            place = after
        addr = extent.addr
        rkey = extent.slab.rkey
        lease = None
        if self.eager is not None and out_length and not by_key:
            lease = self.eager.lease(out_length)
        if lease is not None:
            self.eager_sent += 1
            writable = _descriptors(addr + in_place, rkey, (in_length,))
            message = encode_eager(command_id, lease.offset, out_length, writable)
        else:
            self.eager_full += self.eager is not None and out_length > 0 and not by_key
            if by_lengths:
                whole = _descriptors(addr + out_place, rkey, (out_length + in_length,))
                message = encode_keyed_vq(command_id, out_length, whole)
            else:
                named = _descriptors(addr + out_place, rkey, readable)
                room = _descriptors(addr + in_place, rkey, sizes)
                message = encode_keyed_vring(self.framing, command_id, named, room)
        carriage = Carriage(extent, message, view[in_place:end])
        carriage.sizes = sizes
        if lease is not None:
            carriage.lease = lease
            carriage.writes = _writes(addr + out_place, extent.slab.lkey, lease)
        return carriage

    def release(self, carriage: Carriage) -> None:
        """Give back what a virtqueue's request took."""
        if carriage.lease is not None:
            assert self.eager is not None
            self.eager.release(carriage.lease)
        self.pool.give_back(carriage.extent)

    # Control commands, one at a time: they share one place.

    def connect(self, connect: Connect, names: Names) -> Carriage:
        """Form a Connect."""
        named, room = self._body(CONNECT_BODY_SIZE)
        room[:] = encode_body(names)
        message = encode_connect(connect, Transport.RDMA) + encode_keyed_rest(connect, named)
        return Carriage(self._control, message)

    def get_keyed_eager_buf(self, command_id: int, vq_index: int, descs: int) -> Carriage:
        """Form a get_keyed_eager_buf."""
        assert descs <= MAX_KEYED_DESCS
        named, room = self._body(descs * KEYED_DESCRIPTOR_SIZE)
        room[:] = bytes(len(room))  # what the target does not write names nothing
        message = encode_get_keyed_eager_buf(command_id, vq_index, descs, named)
        return Carriage(self._control, message, room)

    def plain(self, command: bytes) -> Carriage:
        """Form a control command that is its 16 bytes alone."""
        return Carriage(self._control, command)

    def _body(self, size: int) -> tuple[KeyedDescriptor, memoryview]:
        place = rounded(COMMAND_SIZE + DESCRIPTOR_SIZE)
        area = self._control
        named = KeyedDescriptor(area.addr + place, size, area.slab.rkey)
        return named, area.view[place : place + size]


def _descriptors(addr: int, key: int, lengths: Sequence[int]) -> list[KeyedDescriptor]:
    """Name buffers that lie one behind the other from ``addr``; none for no bytes."""
    found = []
    for length in lengths:
        if length:
            found.append(KeyedDescriptor(addr, length, key))
            addr += length
    return found


def _writes(addr: int, lkey: int, lease: Lease) -> list[Write]:
    writes = []
    for piece in lease.pieces:
        writes.append(Write(addr, lkey, piece.length, piece.addr, piece.key))
        addr += piece.length
    return writes
