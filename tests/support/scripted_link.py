# SPDX-License-Identifier: BSD-3-Clause
"""A link without RDMA, its far end in the test's hand: reads and writes our memory by the keys it
was told, as a target's device would.

Shares no layout with ``vof``: messages are bytes, and what is in them is the test's to say.
"""

from __future__ import annotations

import ctypes
import os
import queue
import select
import struct
import threading
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from vof.fabric.rdma.interface import Write

PATIENCE = 20.0


class Region:
    """Memory that was registered."""

    def __init__(self, device: FakeDevice, key: int, addr: int, size: int) -> None:
        self._device = device
        self.lkey = key
        self.rkey = key + 1
        self.addr = addr
        self.size = size

    def close(self) -> None:
        self._device.regions.pop(self.rkey, None)


class FakeDevice:
    """Registers memory; ``regions`` are those whose keys are good."""

    def __init__(self) -> None:
        self.regions: dict[int, Region] = {}
        self._keys = count(0x100, 0x10)

    def register(self, addr: int, size: int) -> Region:
        region = Region(self, next(self._keys), addr, size)
        self.regions[region.rkey] = region
        return region


class Descriptor(NamedTuple):
    addr: int
    length: int
    key: int


class Message(NamedTuple):
    """A message of one SEND, and the writes posted ahead of it."""

    data: bytes
    writes: Sequence[tuple[int, int, bytes]]
    """Address, key and bytes of each."""

    @property
    def opcode(self) -> int:
        return int.from_bytes(self.data[0:2], "little")

    @property
    def command_id(self) -> int:
        return int.from_bytes(self.data[2:4], "little")

    def segments(self) -> list[tuple[Descriptor, int, int]]:
        """The segment descriptors, each with its id and flags."""
        return [
            (Descriptor(addr, length, key), ident, flags)
            for addr, length, ident, flags, key in struct.iter_unpack("<QIHHI4x", self.data[16:])
        ]

    def keyed(self) -> list[Descriptor]:
        """The keyed descriptors."""
        return [Descriptor(*fields) for fields in struct.iter_unpack("<QII", self.data[16:])]


class Far:
    """The far end of a link."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self.arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.cut = False
        """Our side has ended the connection: nothing reaches its memory."""
        self.link: ScriptedLink

    def receive(self) -> Message:
        return self.arrived.get(timeout=PATIENCE)

    def read(self, descriptor: Descriptor) -> bytes:
        """RDMA READ."""
        self._check(descriptor)
        return ctypes.string_at(descriptor.addr, descriptor.length)

    def write(self, descriptor: Descriptor, data: bytes) -> None:
        """RDMA WRITE, of as many bytes as there are, to the start of what a descriptor names."""
        self._check(descriptor._replace(length=len(data)))
        ctypes.memmove(descriptor.addr, data, len(data))

    def send(self, *messages: bytes) -> None:
        self.link.deliver(*messages)

    def complete(self, command_id: int, value: int = 0, *, status: int = 0, ndesc: int = 0) -> None:
        """Send a completion of the form that all dialects share."""
        self.send(struct.pack("<HHHHQ", status, command_id, ndesc, 0, value))

    def complete_vq(
        self, command_id: int, length: int, in_length: int = 0, status: int = 0
    ) -> None:
        """Complete a request of v5. The length stands where either kind of it has one: what is
        reserved is not to be looked at."""
        self.send(struct.pack("<HHIII", status, command_id, length, length, in_length))

    def break_off(self, reason: str = "closed by the target") -> None:
        """End the connection from here."""
        self.link.deliver(ConnectionError(reason))

    def _check(self, descriptor: Descriptor) -> None:
        assert not self.cut, "the connection has ended"
        region = self._device.regions.get(descriptor.key)
        assert region is not None, f"key {descriptor.key:#x} is not good"
        assert region.addr <= descriptor.addr
        assert descriptor.addr + descriptor.length <= region.addr + region.size


class ScriptedLink:
    """See ``vof.fabric.rdma.interface.Link``. ``room`` is how many sends it takes;
    None: any number."""

    def __init__(self, device: FakeDevice, commands: int = 64) -> None:
        self.commands = commands
        self.armed = False
        self.writes = self.doorbells = 0
        self.probes = 0
        self.room: int | None = None
        self.closed = 0
        self.far = Far(device)
        self.far.link = self
        self._device = device
        self._lock = threading.Lock()
        self._come: deque[bytes | Exception] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._event

    def send(self, addr: int, length: int, lkey: int, writes: Sequence[Write] = ()) -> bool:
        if self.room is not None:
            if not self.room:
                return False
            self.room -= 1
        written = []
        for write in writes:
            data = self._local(write.addr, write.length, write.lkey)
            written.append((write.remote_addr, write.rkey, data))
        self.writes += len(writes)
        self.doorbells += 1
        self.far.arrived.put(Message(self._local(addr, length, lkey), written))
        return True

    def take(self) -> list[bytes]:
        with self._lock:
            messages: list[bytes] = []
            while self._come:
                item = self._come[0]
                if isinstance(item, Exception):
                    if not messages:
                        raise item
                    break
                messages.append(item)
                self._come.popleft()
            return messages

    def arm(self) -> None:
        self.armed = True

    def wait(self, seconds: float) -> list[bytes]:
        if not self.armed:
            self.arm()
            messages = self.take()
            if messages:
                return messages
        poller = select.poll()
        poller.register(self._event, select.POLLIN)
        if poller.poll(seconds * 1000):
            os.eventfd_read(self._event)
            self.armed = False
        return self.take()

    def probe(self) -> None:
        self.probes += 1

    def stop(self) -> None:
        self.far.cut = True
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        assert self.far.cut
        self.closed += 1
        os.close(self._event)
        self._event = -1

    def deliver(self, *come: bytes | Exception) -> None:
        """Have messages come, or the connection fail."""
        with self._lock:
            if self.far.cut:
                return
            self._come.extend(come)
            if self.armed or isinstance(come[-1], Exception):
                os.eventfd_write(self._event, 1)

    def _local(self, addr: int, length: int, lkey: int) -> bytes:
        region = self._device.regions.get(lkey + 1)
        assert region is not None
        assert region.lkey == lkey
        assert region.addr <= addr
        assert addr + length <= region.addr + region.size
        return ctypes.string_at(addr, length)
