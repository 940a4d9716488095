# SPDX-License-Identifier: BSD-3-Clause
"""A target and an initiator that use pyverbs alone: whether RDMA in the guest is fit for use.

Nothing of the gateway is in it. If a scenario of ours fails and this passes, the fault is ours. It
does what the keyed transmission asks of RDMA: a connection by the connection manager, commands by
SEND, RDMA READ and RDMA WRITE by the target on memory the initiator names by address and key, the
completion by a SEND in one post with the WRITE, several commands in flight, receives posted before
the peer may send, and waiting on descriptors.

    python -m tests.guest.verbs target ADDRESS
    python -m tests.guest.verbs initiator ADDRESS [--hold]

The target prints `listening`, and the initiator `holding` if it stays connected after its work as
`--hold` has it; each ends with a line of JSON: what was done, and what ended the connection. A side
that only waits does not notice that its peer has gone silent, so an idle one probes: it sends a
WRITE of no bytes, which needs no memory at the other end.

All that pyverbs does happens with the interpreter's lock held, waiting included: it is called when
poll(2) says that it will not wait. Descriptors are found in /proc, as pyverbs does not tell them.
"""

import argparse
import ctypes
import json
import mmap
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyverbs import cm_enums, enums
from pyverbs.cmid import CMID, AddrInfo, CMEvent, CMEventChannel, ConnParam
from pyverbs.cq import CQ, CompChannel
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsRDMAError
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

PORT = "15799"
DEPTH = 8
"""Commands in flight."""
COMMANDS = 64
BLOCK = 65536
"""Bytes that a command has the target read, and write back inverted."""
PATIENCE = 30.0
"""Seconds to wait for anything at all."""
PROBE_EVERY = 0.2

READ_DEPTH = 16
ACK_TIMEOUT, RETRIES = 14, 6
"""4.096 us << 14 = 67 ms without an answer, seven times in all. rxe takes 7 retries for ever."""
RNR_FOREVER = 7
RNR_TIMER = 1
"""The peer is to wait for 10 us when no receive is posted; the 0 of the manager means 655 ms."""
LOCAL_AND_REMOTE = (
    enums.IBV_ACCESS_LOCAL_WRITE | enums.IBV_ACCESS_REMOTE_READ | enums.IBV_ACCESS_REMOTE_WRITE
)

COMMAND = struct.Struct("<IIQ")
"""Which of the initiator's slots, the key of its memory, and the address of the bytes."""
COMPLETION = struct.Struct("<I")
MESSAGE = 64
SLOT = 2 * MESSAGE + 2 * BLOCK
INVERTED = bytes(255 - value for value in range(256))

RECEIVE, SEND, READ, PROBE = range(4)
"""What a work request was, beside its slot in the id: a failed completion says nothing else."""


class Ended(Exception):
    """The connection is over; the text says how this side came to know."""


def with_descriptor(kind: str, make: Callable[[], Any]) -> tuple[Any, int]:
    """What `make` makes, and the descriptor it opens, of a file with `kind` in its name."""
    before = _descriptors(kind)
    made = make()
    (descriptor,) = _descriptors(kind) - before
    return made, descriptor


def _descriptors(kind: str) -> set[int]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        try:
            if kind in str(path.readlink()):
                found.add(int(path.name))
        except FileNotFoundError:  # the one that lists the folder
            continue
    return found


class Manager:
    """A channel on which the connection manager reports."""

    def __init__(self) -> None:
        self.channel, self.descriptor = with_descriptor("rdma_cm", CMEventChannel)

    def next(self) -> Any:
        """The event that has come; to be acknowledged, or the connection cannot be closed."""
        if not _readable((self.descriptor,), PATIENCE):
            raise Ended("silence")
        return CMEvent(self.channel)

    def expect(self, kind: int) -> None:
        """Take the next event; Ended with its name unless it is of this kind."""
        event = self.next()
        name, found = event.event_str(), event.event_type
        event.ack_cm_event()
        if found != kind:
            raise Ended(name.removeprefix("RDMA_CM_EVENT_"))


class Connection:
    """A queue pair of our own on what the manager has connected, its memory and its completions."""

    def __init__(self, manager: Manager, cmid: Any) -> None:
        self._manager = manager
        self.cmid = cmid
        context = Context(name=cmid.dev_name)
        self._domain = PD(context)
        self._channel, self._descriptor = with_descriptor(
            "infinibandevent", lambda: CompChannel(context)
        )
        self._queue = CQ(context, 4 * DEPTH, None, self._channel, 0)
        self.memory = mmap.mmap(-1, DEPTH * SLOT)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self._region = MR(self._domain, DEPTH * SLOT, LOCAL_AND_REMOTE, address=self.base)
        self.local_key, self.key = self._region.lkey, self._region.rkey
        settings = QPInitAttr(
            qp_type=enums.IBV_QPT_RC,
            scq=self._queue,
            rcq=self._queue,
            cap=QPCap(3 * DEPTH, DEPTH, 1, 1, MESSAGE),
            sq_sig_all=0,
        )
        self._pair = QP(self._domain, settings)
        self.number = self._pair.qp_num
        self._move(enums.IBV_QPS_INIT, qp_access_flags=LOCAL_AND_REMOTE)
        for slot in range(DEPTH):
            self.receive(slot)
        self._probing = False

    def start(self) -> int:
        """Make the pair ready to receive and to send; the READs the peer lets us have in flight."""
        self._move(enums.IBV_QPS_RTR, min_rnr_timer=RNR_TIMER)
        reads: int = self._move(
            enums.IBV_QPS_RTS, timeout=ACK_TIMEOUT, retry_cnt=RETRIES, rnr_retry=RNR_FOREVER
        ).max_rd_atomic
        return reads

    def _move(self, state: int, **settings: int) -> Any:
        attributes, mask = self.cmid.init_qp_attr(state)
        for name, value in settings.items():
            setattr(attributes, name, value)
        self._pair.modify(attributes, mask)
        return attributes

    def message(self, slot: int, *, received: bool) -> int:
        return slot * SLOT + (0 if received else MESSAGE)

    def block(self, slot: int, *, second: bool = False) -> int:
        return slot * SLOT + 2 * MESSAGE + (BLOCK if second else 0)

    def receive(self, slot: int) -> None:
        piece = SGE(self.base + self.message(slot, received=True), MESSAGE, self.local_key)
        request = RecvWR(RECEIVE * DEPTH + slot, 1, [piece])
        self._pair.post_recv(request)
        request.close()  # pyverbs leaves that to us
        piece.close()

    def send(self, slot: int, message: bytes) -> None:
        request = self._send(slot, message)
        self._pair.post_send(request)
        request.close()

    def read(self, slot: int, address: int, key: int) -> None:
        piece = SGE(self.base + self.block(slot), BLOCK, self.local_key)
        self._remote(READ * DEPTH + slot, enums.IBV_WR_RDMA_READ, piece, address, key)

    def write_and_send(self, slot: int, address: int, key: int, message: bytes) -> None:
        """One post; the completion of the SEND stands for both."""
        piece = SGE(self.base + self.block(slot, second=True), BLOCK, self.local_key)
        request = self._send(slot, message)
        self._remote(0, enums.IBV_WR_RDMA_WRITE, piece, address, key, flags=0, then=request)
        request.close()

    def probe(self) -> None:
        if not self._probing:
            self._remote(PROBE * DEPTH, enums.IBV_WR_RDMA_WRITE, SGE(0, 0, 0), 0, 0)
            self._probing = True

    def _send(self, slot: int, message: bytes) -> Any:
        start = self.message(slot, received=False)
        self.memory[start : start + len(message)] = message
        piece = SGE(self.base + start, len(message), self.local_key)
        flags = enums.IBV_SEND_SIGNALED | enums.IBV_SEND_INLINE
        request = SendWR(SEND * DEPTH + slot, enums.IBV_WR_SEND, 1, sg=[piece], send_flags=flags)
        piece.close()
        return request

    def _remote(
        self,
        number: int,
        opcode: int,
        piece: Any,
        address: int,
        key: int,
        *,
        flags: int = enums.IBV_SEND_SIGNALED,
        then: Any = None,
    ) -> None:
        request = SendWR(number, opcode, 1, sg=[piece], send_flags=flags, next_wr=then)
        request.set_wr_rdma(key, address)
        self._pair.post_send(request)
        request.close()
        piece.close()

    def completions(self, timeout: float = PATIENCE) -> list[tuple[int, int]]:
        """What was completed, and its slot; nothing after `timeout` seconds. Ended if over."""
        found = self._poll()
        if found:
            return found
        self._queue.req_notify()
        found = self._poll()  # what came between the two would wake nobody
        if found:
            return found
        ready = _readable((self._descriptor, self._manager.descriptor), timeout)
        if self._descriptor in ready:
            self._channel.get_cq_event(self._queue)
            self._queue.ack_events(1)
            found = self._poll()
        if not found and self._manager.descriptor in ready:
            self._manager.expect(-1)
        return found

    def _poll(self) -> list[tuple[int, int]]:
        found = []
        for completion in self._queue.poll(4 * DEPTH)[1]:
            if completion.status != enums.IBV_WC_SUCCESS:
                raise Ended(f"status {int(completion.status)}")
            what, slot = divmod(completion.wr_id, DEPTH)
            self._probing = self._probing and what != PROBE
            found.append((what, slot))
        return found

    def hold(self) -> None:
        """Probe until the connection is over, which raises Ended."""
        while True:
            self.probe()
            deadline = time.monotonic() + PROBE_EVERY
            while (left := deadline - time.monotonic()) > 0:
                self.completions(left)

    def close(self) -> list[int]:
        """End it at once, whatever is in flight; the statuses of what was."""
        self._pair.modify(QPAttr(qp_state=enums.IBV_QPS_ERR), enums.IBV_QP_STATE)
        statuses = [int(completion.status) for completion in self._queue.poll(8 * DEPTH)[1]]
        for thing in (self._pair, self._queue, self._channel, self._region, self._domain):
            thing.close()
        self.cmid.close()
        return statuses


def _readable(descriptors: tuple[int, ...], timeout: float) -> set[int]:
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in waiting.poll(timeout * 1000)}


def parameters(number: int, *, resources: int, depth: int) -> Any:
    return ConnParam(resources, depth, retry=7, rnr_retry=RNR_FOREVER, qp_num=number)


def accept(address: str) -> Connection:
    """Listen, and wait for one initiator."""
    manager = Manager()
    listener = CMID(creator=manager.channel)
    passive = AddrInfo(
        src=address, src_service=PORT, port_space=cm_enums.RDMA_PS_TCP, flags=cm_enums.RAI_PASSIVE
    )
    listener.bind_addr(passive)
    listener.listen(1)
    say("listening")
    event = manager.next()
    cmid = CMID(creator=event, listen_id=listener)
    event.ack_cm_event()
    connection = Connection(manager, cmid)
    reads = connection.start()
    cmid.accept(parameters(connection.number, resources=0, depth=min(reads, READ_DEPTH)))
    manager.expect(cm_enums.RDMA_CM_EVENT_ESTABLISHED)
    return connection


def resolve(manager: Manager, address: str) -> Any:
    """An id that knows its device and its way. Ended if there is none."""
    cmid = CMID(creator=manager.channel)
    there = AddrInfo(dst=address, dst_service=PORT, port_space=cm_enums.RDMA_PS_TCP)
    cmid.resolve_addr(there, 2000)
    manager.expect(cm_enums.RDMA_CM_EVENT_ADDR_RESOLVED)
    cmid.resolve_route(2000)
    manager.expect(cm_enums.RDMA_CM_EVENT_ROUTE_RESOLVED)
    return cmid


def connect(address: str) -> Connection:
    manager = Manager()
    cmid = resolve(manager, address)
    connection = Connection(manager, cmid)
    cmid.connect(parameters(connection.number, resources=READ_DEPTH, depth=0))
    manager.expect(cm_enums.RDMA_CM_EVENT_CONNECT_RESPONSE)
    connection.start()
    cmid.establish()
    return connection


def serve(connection: Connection, done: list[int]) -> None:
    """Answer commands until the connection is over; `done` gets their slots."""
    wanted: dict[int, tuple[int, int, int]] = {}
    memory = connection.memory
    while True:
        for what, slot in connection.completions(PROBE_EVERY):
            if what == RECEIVE:
                command = COMMAND.unpack_from(memory, connection.message(slot, received=True))
                wanted[slot] = command
                connection.read(slot, command[2], command[1])
            elif what == READ:
                index, key, address = wanted.pop(slot)
                start = connection.block(slot)
                inverted = memory[start : start + BLOCK].translate(INVERTED)
                memory[start + BLOCK : start + 2 * BLOCK] = inverted
                connection.receive(slot)  # before the initiator may send another
                connection.write_and_send(slot, address + BLOCK, key, COMPLETION.pack(index))
                done.append(slot)
        if not wanted:
            connection.probe()


def work(connection: Connection, done: list[int]) -> None:
    """Send all commands, DEPTH at a time, and look at what comes back. Ended if it is wrong."""
    expected: dict[int, bytes] = {}
    memory = connection.memory

    def command(slot: int) -> None:
        content = os.urandom(BLOCK)
        start = connection.block(slot)
        memory[start : start + 2 * BLOCK] = content + bytes(BLOCK)
        expected[slot] = content.translate(INVERTED)
        connection.send(slot, COMMAND.pack(slot, connection.key, connection.base + start))

    for slot in range(DEPTH):
        command(slot)
    while expected:
        for what, slot in connection.completions():
            if what != RECEIVE:
                continue
            (index,) = COMPLETION.unpack_from(memory, connection.message(slot, received=True))
            connection.receive(slot)
            start = connection.block(index, second=True)
            if memory[start : start + BLOCK] != expected.pop(index):
                raise Ended(f"wrong bytes in slot {index}")
            done.append(index)
            if len(done) + len(expected) < COMMANDS:
                command(index)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.guest.verbs")
    parser.add_argument("role", choices=["target", "initiator"])
    parser.add_argument("address")
    parser.add_argument("--hold", action="store_true")
    arguments = parser.parse_args()
    done: list[int] = []
    connection = None
    try:
        if arguments.role == "target":
            connection = accept(arguments.address)
            serve(connection, done)
        connection = connect(arguments.address)
        work(connection, done)
        if arguments.hold:
            say("holding")
            connection.hold()
        end = "all done"
    except Ended as err:
        end = str(err)
    except PyverbsRDMAError as err:
        end = f"errno {err.error_code}"
    flushed = connection.close() if connection is not None else []
    say(json.dumps({"end": end, "done": len(done), "flushed": flushed}))


if __name__ == "__main__":
    main()
