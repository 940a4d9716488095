# SPDX-License-Identifier: BSD-3-Clause
"""The scripted target over RDMA, on pyverbs alone: every READ, WRITE and SEND is the script's.

Speaks the *proposal*, as its TCP sibling does; a hook may do anything else. ``operations`` counts
what was posted. All calls of pyverbs are made under one lock, since its objects know nothing of
threads, and none of them waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyverbs.cm_enums as ce
import pyverbs.enums as e
from pyverbs.cmid import CMID, AddrInfo, CMEvent, CMEventChannel, ConnParam
from pyverbs.cq import CQ, CompChannel
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsError
from pyverbs.qp import QP, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

from tests.support.protocol_numbers import CONNECT, VRING
from tests.support.scripted_target import (
    PATIENCE,
    Command,
    Connection,
    Descriptor,
    Device,
    Hook,
    ScriptedTarget,
    completion,
)
from vof.rdma.descriptors import close_with_descriptor, with_descriptor

_RECEIVES = 64
_SLOT = 4096
_SCRATCH = 8 << 20
_ALL = e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_READ | e.IBV_ACCESS_REMOTE_WRITE


class KeyedCommand(Command):
    """A command whose buffers are the initiator's."""

    connection: KeyedConnection

    def complete(self, *buffers: bytes) -> None:
        for descriptor, data in zip(self.writable, buffers, strict=True):
            self.connection.write(descriptor, data)
        self.reply(sum(map(len, buffers)))


class KeyedConnection(Connection):
    """The target's end of one reliable connection."""

    target: KeyedTarget

    def __init__(self, target: KeyedTarget, cmid: CMID, number: int, receives: int) -> None:
        super().__init__(target, None, ("", 0), number)  # type: ignore[arg-type]
        self.cmid = cmid
        self.ended = False
        self._closed = False
        self.context = Context(name=cmid.dev_name)
        self.pd = PD(self.context)
        made = with_descriptor(lambda: CompChannel(self.context), "infinibandevent")
        self.channel, self.fd = made
        self.cq = CQ(self.context, 512, None, self.channel, 0)
        caps = QPCap(256, _RECEIVES, 1, 1, 64)
        self.qp = QP(self.pd, QPInitAttr(qp_type=e.IBV_QPT_RC, scq=self.cq, rcq=self.cq, cap=caps))
        self.memory = mmap.mmap(-1, _RECEIVES * _SLOT + _SCRATCH)
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.mr = MR(self.pd, len(self.memory), _ALL, address=self.addr)
        self.scratch = _RECEIVES * _SLOT
        self.cq.req_notify()
        self._done: list[int] = []
        self._arrived: list[bytes] = []
        self._modify(e.IBV_QPS_INIT)
        for slot in range(receives):
            self.post_receive(slot)
        self._modify(e.IBV_QPS_RTR)
        self._modify(e.IBV_QPS_RTS)
        cmid.accept(ConnParam(resources=16, depth=16, retry=6, rnr_retry=7, qp_num=self.qp.qp_num))

    def _modify(self, state: int) -> None:
        attributes, mask = self.cmid.init_qp_attr(state)
        if state == e.IBV_QPS_INIT:
            attributes.qp_access_flags = _ALL
        elif state == e.IBV_QPS_RTR:
            attributes.min_rnr_timer = 12
        elif state == e.IBV_QPS_RTS:
            attributes.timeout, attributes.retry_cnt = 14, 6
        self.qp.modify(attributes, mask)

    def post_receive(self, slot: int) -> None:
        sge = SGE(self.addr + slot * _SLOT, _SLOT, self.mr.lkey)
        request = RecvWR(slot, 1, [sge])
        self.qp.post_recv(request)
        request.close()
        sge.close()

    def register(self, size: int) -> tuple[mmap.mmap, Any]:
        """Register memory of the script's own that the peer may write."""
        memory = mmap.mmap(-1, size)
        addr = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        with self.target.lock:
            return memory, MR(self.pd, size, _ALL, address=addr)

    def read(self, descriptor: Descriptor, key: int | None = None) -> bytes:
        """RDMA READ what a descriptor names; OSError if that fails."""
        self._work(e.IBV_WR_RDMA_READ, descriptor, descriptor.length, key)
        return self.memory[self.scratch : self.scratch + descriptor.length]

    def write(self, descriptor: Descriptor, data: bytes, key: int | None = None) -> None:
        """RDMA WRITE bytes to the start of what a descriptor names; OSError if that fails."""
        self.memory[self.scratch : self.scratch + len(data)] = data
        self._work(e.IBV_WR_RDMA_WRITE, descriptor, len(data), key)

    def send(self, data: bytes) -> None:
        self.memory[self.scratch : self.scratch + len(data)] = data
        with contextlib.suppress(OSError):
            self._work(e.IBV_WR_SEND, None, len(data), None)

    def close(self) -> None:
        self.ended = True

    def disconnect(self) -> None:
        """End the connection in good order."""
        with self.target.lock, contextlib.suppress(PyverbsError):
            if not self._closed:
                self.cmid.disconnect()

    def _work(self, opcode: int, remote: Descriptor | None, size: int, key: int | None) -> None:
        """Post one work request on the scratch memory and wait for it."""
        with self.target.lock:
            if self._closed:
                raise OSError("the connection is closed")
            sge = SGE(self.addr + self.scratch, size, self.mr.lkey)
            request = SendWR(1 << 20, opcode, 1, sg=[sge])
            if remote is not None:
                request.set_wr_rdma(remote.key if key is None else key, remote.addr)
            self._done.clear()
            self.target.operations[opcode] += 1
            self.qp.post_send(request)
            request.close()
            sge.close()
        end = time.monotonic() + PATIENCE
        while not self._done:
            if not self._poll(0.05) and (self.ended or time.monotonic() > end):
                raise OSError("no completion")
        if self._done[0]:
            raise OSError(f"work completion status {self._done[0]}")

    def _poll(self, seconds: float) -> bool:
        """Take completions; True if there were any."""
        with self.target.lock:
            if self._closed or self._take():
                return not self._closed
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        if poller.poll(seconds * 1000):
            with self.target.lock:
                if self._closed:
                    return False
                with contextlib.suppress(PyverbsError):  # another thread may have read it
                    self.channel.get_cq_event(self.cq)
                    self.cq.ack_events(1)
                    self.cq.req_notify()
                return self._take()
        return False

    def _take(self) -> bool:
        _count, completions = self.cq.poll(16)
        for item in completions:
            if item.wr_id >= 1 << 20:
                self._done.append(item.status)
            elif item.status:
                self.ended = True
            else:
                start = item.wr_id * _SLOT
                self._arrived.append(self.memory[start : start + item.byte_len])
                self.post_receive(item.wr_id)
        return bool(completions)

    def serve(self) -> None:
        try:
            while not self.ended:
                if not self._arrived:
                    self._poll(0.05)
                    continue
                self.target.take(self._command(self._arrived.pop(0)))
        except (OSError, PyverbsError):
            pass
        finally:
            with self.target.lock:
                self._closed = True
                for item in (self.qp, self.cq, self.channel, self.mr, self.pd, self.context):
                    with contextlib.suppress(PyverbsError):
                        close_with_descriptor(item)
                self.cmid.close()

    def _command(self, raw: bytes) -> KeyedCommand:
        opcode = int.from_bytes(raw[:2], "little")
        descriptors = []
        if opcode in (CONNECT, VRING):
            descriptors = [
                Descriptor(*fields) for fields in struct.iter_unpack("<QIHHI4x", raw[16:])
            ]
        payload = b"".join(self.read(each) for each in descriptors if not each.writable)
        return KeyedCommand(self, raw, descriptors, payload)


class KeyedTarget(ScriptedTarget):
    """Serves one device on an address that an RDMA device serves, until it is stopped.

    ``receives`` is how many commands each connection takes before it has answered one; 0 for a
    target that takes none.
    """

    first_oftype = 1

    def __init__(
        self,
        address: str,
        device: Device | None = None,
        *hooks: Hook,
        receives: int = _RECEIVES,
        accepts: Callable[[], bool] = lambda: True,
    ) -> None:
        self.device = device or Device()
        self.hooks = list(hooks)
        self.commands: list[Command] = []
        self.connections: list[Connection] = []
        self.died = False
        self._all: list[KeyedConnection] = []
        self.operations: Counter[int] = Counter()
        self.lock = threading.RLock()
        self._receives = receives
        self._accepts = accepts
        self._kept: list[CMID] = []
        """Requests that are neither accepted nor refused."""
        self._mistakes: list[BaseException] = []
        self._changed = threading.Condition()
        self._stopping = False
        self.address = address
        with socket.socket() as sock:
            sock.bind((address, 0))
            self.port = sock.getsockname()[1]
        self._channel, self._fd = with_descriptor(CMEventChannel, "rdma_cm")
        self._id = CMID(creator=self._channel)
        self._id.bind_addr(
            AddrInfo(
                src=address,
                src_service=str(self.port),
                port_space=ce.RDMA_PS_TCP,
                flags=ce.RAI_PASSIVE,
            )
        )
        self._id.listen(16)
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._stopping = True
        for connection in self._all:
            connection.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        with self.lock:
            for cmid in self._kept:
                cmid.close()
            self._id.close()
            close_with_descriptor(self._channel)
        if self._mistakes:
            raise self._mistakes[0]

    def wait_for_ends(self) -> None:
        """Return when nothing is left of the connections so far, which the initiator has closed."""
        for thread in self._threads[1:]:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def keyed(self) -> Sequence[KeyedConnection]:
        """The connections so far."""
        return [item for item in self.connections if isinstance(item, KeyedConnection)]

    def _listen(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        while not self._stopping:
            if not poller.poll(50):
                continue
            with self.lock:
                try:
                    event = CMEvent(self._channel)
                except PyverbsError:
                    continue  # it was of an id that has been closed meanwhile
                kind = event.event_type
                cmid = None
                if kind == ce.RDMA_CM_EVENT_CONNECT_REQUEST:
                    cmid = CMID(creator=event, listen_id=self._id)
                event.ack_cm_event()
                if kind == ce.RDMA_CM_EVENT_DISCONNECTED:
                    self._end_disconnected()
                if cmid is None:
                    continue
                if not self._accepts():
                    self._kept.append(cmid)
                    continue
                number = len(self.connections)
                connection = KeyedConnection(self, cmid, number, self._receives)
            self._all.append(connection)
            with self._changed:
                self.connections.append(connection)
                self._changed.notify_all()
            thread = threading.Thread(target=connection.serve, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _end_disconnected(self) -> None:
        for connection in self._all:
            if not connection.ended:
                try:
                    connection.cmid.init_qp_attr(e.IBV_QPS_RTS)
                except PyverbsError:
                    connection.ended = True


__all__ = ["KeyedCommand", "KeyedConnection", "KeyedTarget", "completion"]
