# SPDX-License-Identifier: BSD-3-Clause
"""The commands of one connected queue, keyed (*v5*, *proposal* examples 2.1 and 2.2).

A request goes through these steps: its message arrives; it is given memory; its device-readable
bytes are read from the initiator's memory, or copied from the eager buffers; it is executed; its
device-writable bytes are written to the initiator's memory and its completion is sent. Requests are
in different steps at the same time; they begin to be executed in the order in which their bytes
came, as many at a time as ``execution`` lets them.

Owns the command ids in flight, what each request holds, and what is a violation. The receive of a
message is posted again when its command is answered: a peer has no more commands in flight than
there are receives, and where it takes no answers it gets nothing more executed. Must not know
verbs, device types or what a control command means. Belongs to one thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from vof.errors import RemoteProtocolError
from vof.logline import Throttle
from vof.target.association import Association
from vof.target.commands import execute, refuse
from vof.target.devices.device import Request
from vof.target.execution import Execution
from vof.target.rdma.eager import EagerRange
from vof.target.rdma.memory import Chunk, NotRegistered, Pool
from vof.target.rdma.send_queue import SendQueue, pieces
from vof.wire.constants import REQUESTS, Command, TransportFeature
from vof.wire.keyed_commands import (
    KeyedCommand,
    KeyedLimits,
    decode_keyed,
    encode_keyed_completion,
)
from vof.wire.status import Reason
from vof.wire.structs import COMPLETION_SIZE, HEAD, pack, unpack
from vof.wire.v5 import (
    KEYED_DESCRIPTOR_SIZE,
    GetKeyedEagerBufCommand,
    KeyedDescriptor,
    VqKeyedEagerBufCommand,
)


class Inbox(Protocol):
    """The receives in which messages arrive."""

    def message(self, number: int, length: int) -> memoryview:
        """Return the ``length`` bytes that receive ``number`` has brought."""

    def post_receive(self, number: int) -> None:
        """Let receive ``number`` bring another message."""


Ranges = Callable[[int], EagerRange | None]
"""Returns the eager buffers of a virtqueue, None where it has none."""


class _Request:
    __slots__ = ("chunk", "command", "lease", "number", "snapshot")

    def __init__(self, number: int, command: KeyedCommand) -> None:
        self.number = number
        """The receive that brought it."""
        self.command = command
        self.chunk: Chunk | None = None
        self.snapshot: bytes | None = None
        """What it has in the eager buffers, if it has."""
        self.lease: tuple[EagerRange, int, int] | None = None
        """Where it has it: offset and length."""

    @property
    def size(self) -> int:
        """Bytes of memory that it needs."""
        return self.command.out_length + self.command.in_length


class KeyedQueue:
    """One connected queue: the control queue, or a virtqueue."""

    def __init__(
        self,
        association: Association,
        index: int | None,
        *,
        inbox: Inbox,
        sends: SendQueue,
        pool: Pool,
        ranges: Ranges,
        limits: KeyedLimits,
        largest: int,
        execution: Execution[_Request] | None,
    ) -> None:
        """``index`` and ``execution`` are None for the control queue; ``largest`` is the longest
        read or write."""
        self._association = association
        self._index = index
        self._inbox = inbox
        self._sends = sends
        self._pool = pool
        self._ranges = ranges
        self._limits = limits
        self._largest = largest
        self._execution = execution
        self._depth = association.depth(index)
        self._in_flight: set[int] = set()
        self._batch: set[int] = set()
        self._starved: deque[_Request] = deque()
        self._ready: deque[_Request] = deque()
        self._farewell: tuple[int, KeyedCommand] | None = None
        self._no_memory = Throttle(10.0)
        self.left = False
        """True once a Disconnect has been answered."""

    @property
    def busy(self) -> bool:
        """True while a request is in progress."""
        return bool(self._in_flight)

    def begin_batch(self) -> None:
        """The messages from here on were completed together: all of them were sent before any of
        them was answered."""
        self._batch.clear()

    def received(self, number: int, length: int) -> None:
        """Take a message. Raises RemoteProtocolError or OSError."""
        if self._farewell or self.left:
            return
        self._sends.operations.receives += 1
        message = self._inbox.message(number, length)
        if length < HEAD.size:
            raise RemoteProtocolError(f"a command of {length} bytes; the shortest has 16")
        _opcode, command_id = HEAD.unpack_from(message)
        if command_id in self._in_flight or command_id in self._batch:
            raise RemoteProtocolError(
                f"command id {command_id} is used again while it is in flight"
            )
        in_flight = len(self._in_flight | self._batch)
        self._batch.add(command_id)
        command = decode_keyed(message, self._association.dialect, self._limits)
        if self._depth is not None and in_flight >= self._depth:
            completion = refuse(self._association, command.head, Reason.TOO_MANY_COMMANDS)
            self._reply(number, completion)
            return
        if self._index is None or command.command not in REQUESTS:
            self._control(number, command)
            return
        self._in_flight.add(command_id)
        request = _Request(number, command)
        if command.command is Command.VQ_KEYED_EAGER_BUF:
            self._copy(request, self._index)
        self._starved.append(request)
        self._feed()

    def work(self) -> bool:
        """Answer what was executed, and begin to execute one request if there is one; return
        whether there are more. Raises what one has failed with."""
        self._feed()
        if self._execution:
            self._answer_done(self._execution)
            if self._ready and self._execution.has_room:
                self._execute(self._execution, self._ready.popleft())
                self._answer_done(self._execution)
        if self._farewell and not self._in_flight:
            number, command = self._farewell
            self._farewell = None
            self._reply(number, self._executed(command), now=True)
            self.left = True
        return bool(self._ready and self._execution and self._execution.has_room)

    def tell(self, events: bytes) -> None:
        """Send completions that belong to no command."""
        for start in range(0, len(events), COMPLETION_SIZE):
            self._sends.answer((), 0, 0, events[start : start + COMPLETION_SIZE])

    def rest(self) -> None:
        """Nothing has come for a while: let go of what is kept for the next request."""
        self._sends.hurry()
        self._pool.trim()

    def _copy(self, request: _Request, index: int) -> None:
        """Take the device-readable bytes of an eager command."""
        if not self._association.transport_features & TransportFeature.KEYED_EAGER_BUF:
            raise RemoteProtocolError(
                "a vq_keyed_eager_buf command without the transport feature KEYED_EAGER_BUF"
            )
        fields = unpack(VqKeyedEagerBufCommand, request.command.head)
        eager = self._ranges(index)
        if not eager:
            raise RemoteProtocolError(
                "a vq_keyed_eager_buf command where there are no such buffers"
            )
        request.snapshot = eager.lease(fields.out_offset, fields.out_length)
        request.lease = eager, fields.out_offset, fields.out_length

    def _feed(self) -> None:
        """Give memory to those who wait for it, in the order in which they came."""
        while self._starved:
            request = self._starved[0]
            if request.size:
                request.chunk = self._pool.take(request.size)
                if not request.chunk:
                    # Answers whose end is not told hold some.
                    self._sends.hurry()
                    return
            self._starved.popleft()
            self._read(request)

    def _read(self, request: _Request) -> None:
        readable = request.command.readable
        if not readable:
            self._ready.append(request)
            return
        chunk = request.chunk
        assert chunk
        self._sends.read(
            pieces(readable, self._largest),
            chunk.address,
            chunk.region.local_key,
            lambda: self._ready.append(request),
        )

    def _execute(self, execution: Execution[_Request], request: _Request) -> None:
        command, chunk = request.command, request.chunk
        area = chunk.view if chunk else memoryview(b"")
        begin = command.out_length
        readable = area[:begin] if request.snapshot is None else memoryview(request.snapshot)
        assert self._index is not None
        execution.submit(request, Request(self._index, readable, area[begin:]))

    def _answer_done(self, execution: Execution[_Request]) -> None:
        while taken := execution.take():
            request, executed, used = taken
            self._answer(request, executed.writable, used)

    def _answer(self, request: _Request, writable: memoryview, used: int) -> None:
        command, chunk = request.command, request.chunk
        begin = command.out_length
        instance = self._association.instance
        size = used
        if instance.tail and 0 < used < len(writable):
            # The tail is at the end; what lies before it has been somebody else's.
            size = len(writable)
            writable[used - instance.tail : size - instance.tail] = bytes(size - used)
        dialect = self._association.dialect
        message = encode_keyed_completion(dialect, command, 0, used, size)
        before = partial(self._end, request)
        if chunk:
            self._sends.answer(
                pieces(first_bytes(command.writable, size), self._largest),
                chunk.address + begin,
                chunk.region.local_key,
                message,
                before=before,
                done=partial(self._pool.give, chunk),
                held=chunk.size,
            )
        else:
            self._sends.answer((), 0, 0, message, before=before)

    def _end(self, request: _Request) -> None:
        """The request is being answered: what is its own is the initiator's again."""
        if request.lease:
            eager, offset, length = request.lease
            eager.release(offset, length)
        self._in_flight.discard(request.command.command_id)
        self._inbox.post_receive(request.number)

    def _control(self, number: int, command: KeyedCommand) -> None:
        if command.command is Command.DISCONNECT:
            # What came before it is answered before it.
            self._farewell = number, command
        elif command.command is Command.GET_KEYED_EAGER_BUF and self._expose(number, command):
            pass
        else:
            self._reply(number, self._executed(command))

    def _executed(self, command: KeyedCommand) -> bytes:
        on_control_queue = self._index is None
        return execute(self._association, command.head, on_control_queue=on_control_queue)

    def _expose(self, number: int, command: KeyedCommand) -> bool:
        """Answer get_keyed_eager_buf where there are buffers; False where it is to be answered as
        any other command."""
        association = self._association
        fields = unpack(GetKeyedEagerBufCommand, command.head)
        in_force = association.transport_features & TransportFeature.KEYED_EAGER_BUF
        if self._index is not None or not in_force:
            return False
        [body] = command.writable
        count = min(fields.descs, body.length // KEYED_DESCRIPTOR_SIZE)
        data = b"".join(map(pack, self._find(fields.queue_id, count)))
        chunk = self._pool.take(len(data)) if data else None
        if not chunk:
            return False
        chunk.view[:] = data
        descs = len(data) // KEYED_DESCRIPTOR_SIZE
        self._sends.answer(
            first_bytes([body], len(data)),
            chunk.address,
            chunk.region.local_key,
            association.dialect.complete(
                Command.GET_KEYED_EAGER_BUF, command.command_id, value=descs
            ),
            before=partial(self._inbox.post_receive, number),
            done=partial(self._pool.give, chunk),
            held=chunk.size,
        )
        return True

    def _find(self, index: int, count: int) -> Sequence[KeyedDescriptor]:
        """Return the first ``count`` eager buffers of a virtqueue, which has some once it is
        connected and there is memory for them."""
        eager = self._ranges(index)
        if not eager:
            return ()
        try:
            return eager.expose(count)
        except NotRegistered as error:
            self._no_memory.event(logging.ERROR, "no-memory", reason=str(error))
            return ()

    def _reply(self, number: int, message: bytes, *, now: bool = False) -> None:
        before = partial(self._inbox.post_receive, number)
        self._sends.answer((), 0, 0, message, before=before, now=now)


def first_bytes(buffers: Sequence[KeyedDescriptor], count: int) -> list[KeyedDescriptor]:
    """Return what the first ``count`` bytes of the buffers are."""
    found = []
    for item in buffers:
        if not count:
            break
        part = min(count, item.length)
        found.append(item if part == item.length else item._replace(length=part))
        count -= part
    return found
