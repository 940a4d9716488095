# SPDX-License-Identifier: BSD-3-Clause
"""An initiator of the tests' own over RDMA: messages on a queue pair made by pyverbs alone.

It takes from the project what encodes messages, and of the target's side nothing but the lock that
both need to find descriptors in one process. Needs an RDMA device: see
`tests.guest.scenario_target_rdma`.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import select
import struct
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from pyverbs import cm_enums, enums
from pyverbs.cmid import CMID, AddrInfo, CMEvent, CMEventChannel, ConnParam
from pyverbs.cq import CQ, CompChannel
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsRDMAError
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

from tests.support.keyed_messages import keyed_request
from tests.target.peer import BLOCK0, CONTROL, IVQN, Completion, header, name_field
from vof.rdma.descriptors import close_with_descriptor, with_descriptor
from vof.wire.connect import Connect, encode_connect, encode_keyed_rest
from vof.wire.constants import Command, Transport
from vof.wire.dialect import PROPOSAL, V5, Dialect
from vof.wire.keyed import (
    encode_eager,
    encode_get_keyed_eager_buf,
)
from vof.wire.structs import unpack
from vof.wire.v5 import KeyedDescriptor

Address = tuple[str, int]

PATIENCE = 30.0
SIZE = 4 << 20
"""Bytes of the memory that the target may use."""

RECEIVES = 32
ALL_ACCESS = 7
_SLOT = 64
_SEND = 1 << 20
_MAP = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Closed(Exception):
    """The target has ended the connection, or it has failed."""


class Refused(Exception):
    """The connection did not come about."""


class Memory(NamedTuple):
    """Registered memory."""

    view: memoryview
    address: int
    region: Any

    def part(self, offset: int, length: int) -> KeyedDescriptor:
        return KeyedDescriptor(self.address + offset, length, self.region.rkey)


class KeyedPeer:
    """One connection."""

    def __init__(
        self,
        address: Address,
        *,
        dialect: Dialect = PROPOSAL,
        responder_resources: int = 128,
        receives: int = RECEIVES,
    ) -> None:
        self.dialect = dialect
        self._closers: list[Callable[[], None]] = []
        self._reaped: list[Any] = []
        self._ids = 0
        self.closed = False
        self._keeps = False
        try:
            self._connect(address, responder_resources, receives)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: Address, responder_resources: int, receives: int) -> None:
        self._channel, self._events = with_descriptor(CMEventChannel, "rdma_cm")
        self._closers.append(partial(close_with_descriptor, self._channel))
        self._cmid = self._keep(CMID(creator=self._channel))
        there = AddrInfo(
            dst=address[0], dst_service=str(address[1]), port_space=cm_enums.RDMA_PS_TCP
        )
        self._cmid.resolve_addr(there, 5000)
        self._expect(cm_enums.RDMA_CM_EVENT_ADDR_RESOLVED)
        self._cmid.resolve_route(5000)
        self._expect(cm_enums.RDMA_CM_EVENT_ROUTE_RESOLVED)
        context = _context(self._cmid.dev_name)
        self._domain = self._keep(PD(context))
        completions, self._completed = with_descriptor(
            lambda: CompChannel(context), "infinibandevent"
        )
        self._completions = completions
        self._closers.append(partial(close_with_descriptor, completions))
        self._cq = self._keep(CQ(context, 1024, None, completions, 0))
        init = QPInitAttr(
            qp_type=enums.IBV_QPT_RC,
            scq=self._cq,
            rcq=self._cq,
            cap=QPCap(512, 256, 1, 1, 0),
            sq_sig_all=0,
        )
        self._qp = self._keep(QP(self._domain, init))
        self._move(enums.IBV_QPS_INIT, qp_access_flags=ALL_ACCESS)
        self.messages = self.register(2 * 256 * _SLOT + 65536)
        self.memory = self.register(SIZE)
        for number in range(receives):
            self.post_receive(number)
        parameters = ConnParam(
            resources=responder_resources, depth=0, retry=7, rnr_retry=7, qp_num=self._qp.qp_num
        )
        self._cmid.connect(parameters)
        self._expect(cm_enums.RDMA_CM_EVENT_CONNECT_RESPONSE)
        self._move(enums.IBV_QPS_RTR, min_rnr_timer=1)
        self._move(enums.IBV_QPS_RTS, timeout=18, retry_cnt=6)
        self._cmid.establish()

    def _keep(self, made: Any) -> Any:
        self._closers.append(made.close)
        return made

    def _move(self, state: int, **settings: int) -> None:
        attributes, mask = self._cmid.init_qp_attr(state)
        for name, value in settings.items():
            setattr(attributes, name, value)
        self._qp.modify(attributes, mask)

    def _expect(self, kind: int) -> None:
        if (found := self._event(PATIENCE)) != kind:
            raise Refused(f"event {found} in place of {kind}")

    def _event(self, timeout: float) -> int | None:
        if not _readable(self._events, timeout):
            return None
        found = CMEvent(self._channel)
        kind: int = found.event_type
        found.ack_cm_event()
        return kind

    # Memory and work requests

    def register(self, size: int, access: int = ALL_ACCESS) -> Memory:
        pages = mmap.mmap(-1, size, flags=_MAP)
        address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        region = MR(self._domain, size, access, address=address)
        return Memory(memoryview(pages), address, region)

    def post_receive(self, number: int) -> None:
        place = SGE(self.messages.address + number * _SLOT, _SLOT, self.messages.region.lkey)
        request = RecvWR(number, 1, [place])
        self._qp.post_recv(request)
        request.close()
        place.close()

    def send(self, message: bytes) -> Self:
        start = len(self.messages.view) - 65536 + self._ids % 8 * 8192
        self.messages.view[start : start + len(message)] = message
        place = SGE(self.messages.address + start, len(message), self.messages.region.lkey)
        self._post(enums.IBV_WR_SEND, place)
        return self

    def write(self, piece: KeyedDescriptor, offset: int, then: bytes = b"") -> Self:
        """Write `piece` of the target's memory from our memory at `offset`."""
        place = SGE(self.memory.address + offset, piece.length, self.memory.region.lkey)
        self._post(enums.IBV_WR_RDMA_WRITE, place, piece)
        return self.send(then) if then else self

    def read(self, piece: KeyedDescriptor, offset: int) -> Self:
        """Read `piece` of the target's memory into ours at `offset`."""
        place = SGE(self.memory.address + offset, piece.length, self.memory.region.lkey)
        self._post(enums.IBV_WR_RDMA_READ, place, piece)
        return self

    def _post(self, opcode: int, place: Any, remote: KeyedDescriptor | None = None) -> None:
        self._ids += 1
        request = SendWR(_SEND + self._ids, opcode, 1, sg=[place])
        if remote:
            request.set_wr_rdma(remote.key, remote.addr)
        self._qp.post_send(request)
        request.close()
        place.close()

    # What the target answers

    def message(self, timeout: float = PATIENCE) -> bytes:
        """Wait for a message; Closed where there will be none."""
        deadline = time.monotonic() + timeout
        while True:
            for place, item in enumerate(self._reaped):
                if item.status:
                    raise Closed(f"status {int(item.status)}")
                if item.wr_id < _SEND:
                    del self._reaped[: place + 1]
                    start = item.wr_id * _SLOT
                    data = bytes(self.messages.view[start : start + item.byte_len])
                    if not self._keeps:
                        self.post_receive(item.wr_id)
                    return data
            self._reap(deadline)

    def _reap(self, deadline: float) -> None:
        """Wait until something is completed; TimeoutError, or Closed."""
        while True:
            self._reaped = self._cq.poll(64)[1]
            if self._reaped:
                return
            self._cq.req_notify()
            self._reaped = self._cq.poll(64)[1]
            if self._reaped:
                return
            ready = _readable_of((self._completed, self._events), deadline - time.monotonic())
            if not ready:
                raise TimeoutError("the target says nothing")
            if self._completed in ready:
                self._completions.get_cq_event(self._cq)
                self._cq.ack_events(1)
            if self._events in ready and self._event(0) == cm_enums.RDMA_CM_EVENT_DISCONNECTED:
                self.closed = True
                # What was said before is heard.
                self._reaped = self._cq.poll(64)[1]
                if not self._reaped:
                    raise Closed("disconnected")
                return

    def is_closed(self, timeout: float = PATIENCE) -> bool:
        """Wait for the end of the connection; False where the target says something instead."""
        if self.closed:
            return True
        return self._ended(timeout)

    def _ended(self, timeout: float) -> bool:
        try:
            self.message(timeout)
        except Closed:
            return self.closed or self._disconnected(timeout)
        except PyverbsRDMAError:
            return True
        return False

    def _disconnected(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if self._event(left) == cm_enums.RDMA_CM_EVENT_DISCONNECTED:
                self.closed = True
                return True
        return False

    def completion(self) -> Completion:
        data = self.message()
        assert len(data) == 16
        status, command_id, ndesc, value = struct.unpack("<HHH2xQ", data)
        return Completion(status, command_id, ndesc, value)

    def lengths(self) -> tuple[int, int, int]:
        """A completion of a request of v5's: status, command id, and the bytes that came back,
        which stand in one of two places."""
        status, command_id, eager, plain, _in_length = struct.unpack("<HHIII", self.message())
        return status, command_id, eager or plain

    # Commands

    def connect_message(
        self, target_id: int = CONTROL, queue: int = 0, *, tvqn: str = BLOCK0, ivqn: str = IVQN
    ) -> bytes:
        self.memory.view[:1024] = name_field(ivqn) + name_field(tvqn) + bytes(512)
        connect = Connect(self.dialect, 0x1234, target_id, queue)
        body = encode_keyed_rest(connect, self.memory.part(0, 1024))
        return encode_connect(connect, Transport.RDMA) + body

    def connect(
        self,
        target_id: int = CONTROL,
        queue: int = 0,
        *,
        tvqn: str = BLOCK0,
        ivqn: str = IVQN,
        keep: bool = False,
    ) -> int:
        """Connect; return the target id that the completion brings. `keep` never posts its receive
        again."""
        self._keeps = keep
        self.send(self.connect_message(target_id, queue, tvqn=tvqn, ivqn=ivqn))
        answer: Any = unpack(self.dialect.forms[Command.CONNECT].completion, self.message())
        assert answer[:2] == (0, 0x1234), answer
        return int(answer.value) & 0xFFFF

    def try_control(self, command: Command, select: int = 0, value: int = 0) -> tuple[int, int]:
        """Execute a control command; `select` is what stands at 4. Return its status and value."""
        form = self.dialect.forms[command]
        self.send(struct.pack("<HHIQ", form.opcode, 0x4321, select, value))
        answer: Any = unpack(form.completion, self.message())
        assert answer[1] == 0x4321, answer
        return answer[0], getattr(answer, "value", 0)

    def control(self, command: Command, select: int = 0, value: int = 0) -> int:
        status, result = self.try_control(command, select, value)
        assert status == 0, status
        return result

    def set_status(self, status: int) -> None:
        self.send(self.dialect.encode(Command.SET_STATUS, 0x4321, value=status))
        assert self.completion()[:2] == (0, 0x4321)

    def encode(
        self,
        command_id: int,
        readable: Sequence[KeyedDescriptor],
        writable: Sequence[KeyedDescriptor],
    ) -> bytes:
        """The message of a request with these buffers."""
        return keyed_request(self.dialect, command_id, readable, writable)

    def eager_buffers(self, queue: int, descs: int = 8, room: int = 1024) -> list[KeyedDescriptor]:
        """Ask for the eager buffers of a virtqueue, with `room` bytes for the answer."""
        status, found = self.try_eager_buffers(queue, descs, room)
        assert status == 0, status
        return found

    def try_eager_buffers(
        self, queue: int, descs: int = 8, room: int = 1024
    ) -> tuple[int, list[KeyedDescriptor]]:
        self.memory.view[:1024] = b"\xee" * 1024
        body = self.memory.part(0, room)
        self.send(encode_get_keyed_eager_buf(0x77, queue, descs, body))
        status, command_id, count = struct.unpack_from("<HHB", self.message())
        assert command_id == 0x77
        found = [
            KeyedDescriptor(*struct.unpack_from("<QII", self.memory.view, place * 16))
            for place in range(count)
        ]
        assert bytes(self.memory.view[count * 16 : 1024]) == b"\xee" * (1024 - count * 16)
        return status, found

    def request_message(
        self,
        kind: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        command_id: int = 1,
        at: int = 4096,
        segment: int = SIZE,
    ) -> bytes:
        """A block request: header, data and status in our memory from `at` on, the data in pieces
        of `segment` bytes that are no neighbours."""
        self.memory.view[at : at + 16] = header(kind, sector)
        place = at + 32
        parts = []
        for start in range(0, max(len(data), room), segment):
            length = min(segment, max(len(data), room) - start)
            piece = data[start : start + length] or b"\xaa" * length
            self.memory.view[place : place + length] = piece
            parts.append(self.memory.part(place, length))
            place += length + 16
        self.memory.view[at + 16] = 0xFF
        head, status = self.memory.part(at, 16), self.memory.part(at + 16, 1)
        readable = [head, *parts] if data else [head]
        writable = [status] if data else [*parts, status]
        return self.encode(command_id, readable, writable)

    def request(
        self,
        kind: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        at: int = 4096,
        segment: int = SIZE,
    ) -> tuple[int, bytes]:
        """Execute a block request; return the status byte and the data that came back."""
        message = self.request_message(kind, sector, data, room, at=at, segment=segment)
        self.send(message)
        self.check_completion(room + 1)
        return self.result(room, at=at, segment=segment)

    def check_completion(self, used: int, command_id: int = 1) -> None:
        if self.dialect is V5:
            assert self.lengths() == (0, command_id, used)
        else:
            answer = self.completion()
            assert (answer.status, answer.command_id, answer.value) == (0, command_id, used)

    def result(self, room: int, *, at: int = 4096, segment: int = SIZE) -> tuple[int, bytes]:
        """The status byte and the data of a request."""
        place, data = at + 32, b""
        for start in range(0, room, segment):
            length = min(segment, room - start)
            data += bytes(self.memory.view[place : place + length])
            place += length + 16
        return self.memory.view[at + 16], data

    def run(self, payload: bytes, room: int, *, at: int = 4096) -> tuple[int, bytes]:
        """Execute a request of any device; return how much was used of `room` bytes, and what they
        hold, filled with 0xee before."""
        self.memory.view[at : at + len(payload)] = payload
        end = at + len(payload)
        self.memory.view[end : end + room] = b"\xee" * room
        readable = [self.memory.part(at, len(payload))] if payload else []
        writable = [self.memory.part(end, room)]
        self.send(self.encode(1, readable, writable))
        if self.dialect is V5:
            status, command_id, used = self.lengths()
        else:
            status, command_id, _ndesc, used = self.completion()
        assert (status, command_id) == (0, 1)
        return used, bytes(self.memory.view[end : end + room])

    def write_eagerly(
        self, buffers: Sequence[KeyedDescriptor], offset: int, data: bytes, at: int
    ) -> None:
        """Write `data` at `offset` of the range that the buffers make; it passes through our memory
        at `at`."""
        self.memory.view[at : at + len(data)] = data
        done = 0
        for piece in buffers:
            length = min(piece.length - offset, len(data) - done)
            if length > 0:
                self.write(KeyedDescriptor(piece.addr + offset, length, piece.key), at + done)
                done += length
            offset = max(0, offset - piece.length)
        assert done == len(data)

    def eager_message(
        self,
        buffers: Sequence[KeyedDescriptor],
        offset: int,
        kind: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        command_id: int = 1,
        at: int = 4096,
    ) -> bytes:
        """Write a block request's header and data to the eager buffers; return its command, whose
        `result` will be at `at`."""
        payload = header(kind, sector) + data
        self.write_eagerly(buffers, offset, payload, at + 32 + room)
        return self.eager_command(offset, len(payload), room, command_id=command_id, at=at)

    def eager_command(
        self, offset: int, length: int, room: int = 0, *, command_id: int = 1, at: int = 4096
    ) -> bytes:
        self.memory.view[at + 16] = 0xFF
        data = [self.memory.part(at + 32, room)] if room else []
        return encode_eager(command_id, offset, length, [*data, self.memory.part(at + 16, 1)])

    def eager_request(
        self,
        buffers: Sequence[KeyedDescriptor],
        offset: int,
        kind: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
    ) -> tuple[int, bytes]:
        """As `request`, with header and data in the eager buffers at `offset`."""
        self.send(self.eager_message(buffers, offset, kind, sector, data, room))
        self.check_completion(room + 1)
        return self.result(room)

    # The end

    def break_off(self) -> None:
        """Fail our side without a word: the queue pair sends and answers nothing any more."""
        self._qp.modify(QPAttr(qp_state=enums.IBV_QPS_ERR), enums.IBV_QP_STATE)

    def disconnect(self) -> None:
        self._cmid.disconnect()

    def close(self) -> None:
        while self._closers:
            with contextlib.suppress(PyverbsRDMAError):
                self._closers.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@cache
def _context(device: str) -> Any:
    """The device, opened once for all peers."""
    return Context(name=device)


def _readable(descriptor: int, timeout: float) -> bool:
    return bool(_readable_of((descriptor,), timeout))


def _readable_of(descriptors: Sequence[int], timeout: float) -> set[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {found for found, _what in poll.poll(max(0.0, timeout) * 1000)}
