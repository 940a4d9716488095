# SPDX-License-Identifier: BSD-3-Clause
"""A target that plays from a script: a small honest block device, and hooks to misbehave with.

Raw sockets, and every byte made here with ``struct``: shares nothing with ``vof``, so that a
mistake in its layouts cannot hide on both ends. ``ScriptedTarget.commands`` keeps what it is told.

It can be as fragile as the reference target, which ends of whatever is not a good Connect.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from tests.support.protocol_numbers import (
    CONNECT,
    DISCARD,
    DISCONNECT,
    EVERYTHING,
    FLUSH,
    GET_CONFIG,
    GET_CONFIG_CHANGED,
    GET_DEVICE_FEATURE,
    GET_DEVICE_ID,
    GET_FEATURE,
    GET_GENERATION,
    GET_ID,
    GET_LIFETIME,
    GET_NUM_QUEUES,
    GET_QUEUE_SIZE,
    GET_STATUS,
    GET_VENDOR_ID,
    IN,
    KEEPALIVE,
    OUT,
    RESET_DEVICE,
    SECURE_ERASE,
    SET_CONFIG,
    SET_DRIVER_FEATURE,
    SET_FEATURE,
    SET_QUEUE_SIZE,
    SET_STATUS,
    VENDOR_VTGT,
    VQ,
    VRING,
    WRITE_ZEROES,
    as_proposal,
    block_config,
)

EPROTO = 71

REQUESTS = (VRING, VQ)
"""Opcodes of a virtqueue's requests."""

PATIENCE = 20.0
"""Seconds after which something awaited is declared missing; never waited for in full."""

TVQN = "scripted/block0"
VENDOR = 0x12345678


@dataclass
class Device:
    """The one device of the target: what is said of it, and its content."""

    tvqn: str = TVQN
    target_id: int = 7
    vendor_id: int = VENDOR
    device_id: int = 2
    num_queues: int = 4
    queue_size: int = 128
    max_segs: int = 128
    features: int = EVERYTHING
    config: bytes = field(default_factory=block_config)
    generation: int = 0
    serial: bytes = b"scripted-0123456789x"
    disk: bytearray = field(default_factory=lambda: bytearray(2048 * 512))
    status: int = 0
    dialect: str = "proposal"
    """What it speaks, alone."""
    dies: bool = False
    """Ends as a whole, as the reference target does, of a connection that closes without a good
    Connect, of a Connect that it refuses, and of a command before one."""
    foreign: str = "refuse"
    """How a Connect of another dialect ends: ``refuse``, ``close`` or ``reset``."""

    @property
    def oftype(self) -> int:
        return 0 if self.dialect == "proposal" else 1


def fragile(**fields: Any) -> Device:
    """Return a device of a target that dies as the reference target does."""
    return Device(vendor_id=VENDOR_VTGT, dies=True, **fields)


class Descriptor(NamedTuple):
    addr: int
    length: int
    id: int
    flags: int
    key: int

    @property
    def writable(self) -> bool:
        return bool(self.flags & 2)


@dataclass(eq=False)
class Command:
    """One command as it was received."""

    connection: Connection
    raw: bytes
    """All of its bytes: head, descriptors, payload."""
    descriptors: Sequence[Descriptor]
    """Of a vq command, which has none: one for its status byte, and before it one for the rest of
    its room if there is more."""
    payload: bytes

    @property
    def opcode(self) -> int:
        """As the proposal has it, whatever dialect is spoken."""
        opcode = int.from_bytes(self.raw[0:2], "little")
        return self.connection.target.opcodes_of.get(opcode, opcode)

    @property
    def command_id(self) -> int:
        return int.from_bytes(self.raw[2:4], "little")

    @property
    def writable(self) -> list[Descriptor]:
        return [descriptor for descriptor in self.descriptors if descriptor.writable]

    @property
    def request(self) -> tuple[int, int]:
        """Type and sector of a virtio-blk request."""
        kind, _reserved, sector = struct.unpack_from("<IIQ", self.payload)
        return kind, sector

    def reply(
        self, value: int = 0, *, status: int = 0, command_id: int | None = None, ndesc: int = 0
    ) -> None:
        """Send a completion without anything behind it."""
        command_id = self.command_id if command_id is None else command_id
        device = self.connection.target.device
        if device.dialect == "v5":
            data = v5_completion(self.opcode, status, command_id, value, device.generation)
        else:
            data = completion(status, command_id, ndesc, value)
        self.connection.send(data)

    def complete(self, *buffers: bytes) -> None:
        """Complete a request: one answer for each device-writable descriptor."""
        form = vq_completion if self.opcode == VQ else vring_completion
        self.connection.send(form(self, buffers))

    def perform(self) -> None:
        """Complete a request by what the device makes of it."""
        self.complete(*self.connection.target.execute(self))


Hook = Callable[[Command], bool]
"""Looks at a command before it is answered; True if that is all the answer it gets."""


def completion(status: int, command_id: int, ndesc: int = 0, value: int = 0) -> bytes:
    return struct.pack("<HHHHQ", status, command_id, ndesc, 0, value)


def v5_completion(opcode: int, status: int, command_id: int, value: int, generation: int) -> bytes:
    """Return the completion of a control command in *v5*, where each has a place of its own for its
    value."""
    if opcode == GET_CONFIG:
        return struct.pack("<HHIQ", status, command_id, generation, value)
    if opcode in (GET_FEATURE, GET_DEVICE_FEATURE):
        return struct.pack("<HH4xQ", status, command_id, value)
    return struct.pack("<HHI8x", status, command_id, value)


def vring_completion(command: Command, buffers: Sequence[bytes], used: int | None = None) -> bytes:
    """Return the completion of a vring command with one buffer a device-writable descriptor.

    ``used`` says how much of that was written, if not all.
    """
    data = b"".join(buffers)
    used = len(data) if used is None else used
    parts = [completion(0, command.command_id, len(buffers), used)]
    addr = 0
    for descriptor, buffer in zip(command.writable, buffers, strict=True):
        parts.append(struct.pack("<QIHHI4x", addr, len(buffer), descriptor.id, descriptor.flags, 0))
        addr += len(buffer)
    return b"".join([*parts, data])


def vq_completion(command: Command, buffers: Sequence[bytes]) -> bytes:
    """Return the completion of a vq command, its status byte at the end of the area."""
    data = b"".join(
        part.ljust(each.length, b"\0") for each, part in zip(command.writable, buffers, strict=True)
    )
    return struct.pack("<HH4xII", 0, command.command_id, len(data), len(data)) + data


class Connection:
    """The target's end of one connection."""

    def __init__(
        self, target: ScriptedTarget, sock: socket.socket, peer: tuple[str, int], number: int
    ) -> None:
        self.target = target
        self.socket = sock
        self.peer = peer
        self.number = number
        """Counts connections in the order they were accepted."""
        self.queue: int | None = None
        """Queue index once connected as virtqueue; -1 for the control queue."""
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):
            self.socket.sendall(data)

    def close(self) -> None:
        """End the connection in both directions; its own thread closes the socket."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        try:
            while (command := self._receive()) is not None:
                self.target.take(command)
            if self.queue is None and self.target.device.dies:
                self.target.die()
        except OSError:
            pass
        finally:
            self.socket.close()

    def drain(self) -> None:
        """Receive until the end of the connection."""
        while self.socket.recv(1 << 16):
            pass

    def _receive(self) -> Command | None:
        head = self._exactly(16)
        if head is None:
            return None
        if head[:2] == bytes(2) and not self.target.is_ours(head):
            return Command(self, head, [], b"")
        opcode = Command(self, head, [], b"").opcode
        if self.target.device.dialect == "v5":
            return self._receive_v5(head, opcode)
        ndesc = {CONNECT: head[8], VRING: int.from_bytes(head[8:10], "little")}.get(opcode, 0)
        table = self._exactly(24 * ndesc)
        if table is None:
            return None
        descriptors = [
            Descriptor(*struct.unpack_from("<QIHHI4x", table, 24 * place)) for place in range(ndesc)
        ]
        payload = self._exactly(sum(each.length for each in descriptors if not each.writable))
        if payload is None:
            return None
        return Command(self, head + table + payload, descriptors, payload)

    def _receive_v5(self, head: bytes, opcode: int) -> Command | None:
        out_length = in_length = 0
        if opcode == CONNECT:
            (out_length,) = struct.unpack_from("<I", head, 8)
        elif opcode == VQ:
            out_length, in_length = struct.unpack_from("<II", head, 8)
        payload = self._exactly(out_length)
        if payload is None:
            return None
        rooms = [room for room in (in_length - 1, 1) if room > 0]
        descriptors = [Descriptor(0, room, 0, 2, 0) for room in rooms]
        return Command(self, head + payload, descriptors, payload)

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), 1 << 20))
            if not part:
                return None
            data += part
        return bytes(data)


class ScriptedTarget:
    """Serves one device on a port of its own until it is stopped. A context manager."""

    first_oftype = 0
    """The proposal's ``oftype`` over this transport."""

    def __init__(
        self, device: Device | None = None, *hooks: Hook, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.device = device or Device()
        self.hooks = list(hooks)
        self.commands: list[Command] = []
        """Every command in the order of its arrival."""
        self.connections: list[Connection] = []
        self.died = False
        """It ended, as one that ``dies`` does."""
        self._mistakes: list[BaseException] = []
        self._changed = threading.Condition()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=64)
        self.address, self.port = self._listener.getsockname()[:2]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything; raise what went wrong in the script."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        for connection in self.connections:
            connection.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()
        if self._mistakes:
            raise self._mistakes[0]

    @property
    def opcodes_of(self) -> Mapping[int, int]:
        return as_proposal(self.device.dialect)

    def is_ours(self, head: bytes) -> bool:
        """Return whether a Connect is of the dialect that is spoken here."""
        ndesc = int.from_bytes(head[8:10], "little")
        if self.device.dialect == "v5":
            return ndesc != 1
        return ndesc == 1 and head[10] == self.first_oftype + self.device.oftype

    def take(self, command: Command) -> None:
        """Note a command, show it to the hooks, and answer it if none of them did.

        A Connect of another dialect than the device's ends as ``Device.foreign`` says, and leaves
        no trace.
        """
        if command.opcode == CONNECT and not self.is_ours(command.raw):
            self._refuse_form(command)
            return
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()
        if self.device.dies and self._is_fatal(command):
            self.die()
        try:
            if not any(hook(command) for hook in self.hooks):
                self._answer(command)
        except OSError:
            raise
        except BaseException as error:
            self._mistakes.append(error)
            raise OSError from error

    def _is_fatal(self, command: Command) -> bool:
        """Return whether the reference target ends of a command, or closes the connection of it,
        which it survives."""
        if command.opcode in (KEEPALIVE, GET_FEATURE, SET_FEATURE):
            raise OSError("the reference target closes the connection on this command")
        connected = command.connection.queue is not None
        if command.opcode == CONNECT:
            return connected
        flush = (
            self.device.device_id == 2 and command.opcode == VRING and command.request[0] == FLUSH
        )
        return not connected or flush

    def _refuse_form(self, command: Command) -> None:
        self.connections.remove(command.connection)
        if self.device.dies:
            self.die()
        if self.device.foreign == "refuse":
            command.connection.send(completion(EPROTO, 0))
            command.connection.drain()
        if self.device.foreign == "reset":
            linger = struct.pack("ii", 1, 0)
            command.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise OSError("closed for its form")

    def die(self) -> None:
        """End as a whole."""
        self.died = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self.connections):
            connection.close()
        raise OSError("the target has died")

    def wait_for(self, wanted: Callable[[], bool]) -> None:
        """Wait until ``wanted`` holds, looked at after every command."""
        with self._changed:
            assert self._changed.wait_for(wanted, PATIENCE), "the commands awaited did not come"

    def opcodes(self) -> list[int]:
        return [command.opcode for command in self.commands]

    def requests(self) -> list[Command]:
        """The virtqueues' requests so far."""
        return [command for command in list(self.commands) if command.opcode in REQUESTS]

    def execute(self, command: Command) -> list[bytes]:
        """Return what the device writes into each device-writable descriptor of a request."""
        sizes = [descriptor.length for descriptor in command.writable[:-1]]
        disk = self.device.disk
        kind, sector = command.request
        data = command.payload[16:]
        place = sector * 512
        if kind == IN:
            source = bytes(disk[place : place + sum(sizes)])
        elif kind == GET_ID:
            source = self.device.serial.ljust(20, b"\0")
        elif kind == GET_LIFETIME:
            source = struct.pack("<HHH", 1, 2, 3)
        else:
            source = b""
        if kind == OUT:
            disk[place : place + len(data)] = data
        elif kind == WRITE_ZEROES:
            first, count, _flags = struct.unpack("<QII", data)
            disk[first * 512 : (first + count) * 512] = bytes(count * 512)
        known = {IN, OUT, FLUSH, GET_ID, GET_LIFETIME, DISCARD, WRITE_ZEROES, SECURE_ERASE}
        answers = []
        for size in sizes:
            answers.append(source[:size])
            source = source[size:]
        return [*answers, bytes([0 if kind in known else 2])]

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Not asked of the socket: a peer that has reset it already has no name there.
            connection = Connection(self, sock, address[:2], len(self.connections))
            with self._changed:
                self.connections.append(connection)
                self._changed.notify_all()
            thread = threading.Thread(target=connection.serve, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, command: Command) -> None:
        device = self.device
        opcode, head = command.opcode, command.raw
        if opcode == CONNECT:
            self._connect(command)
        elif opcode in REQUESTS:
            command.perform()
        elif opcode == SET_STATUS:
            device.status = head[8 if device.dialect == "v2" else 4]
            command.reply()
        elif opcode == RESET_DEVICE:
            device.status = 0
            command.reply()
        elif opcode == GET_CONFIG:
            offset, width = struct.unpack_from("<HB", head, 4)
            command.reply(int.from_bytes(device.config[offset : offset + width], "little"))
        elif opcode == SET_CONFIG:
            offset, width = struct.unpack_from("<HB", head, 4)
            config = bytearray(device.config)
            config[offset : offset + width] = head[8 : 8 + width]
            device.config = bytes(config)
            command.reply()
        elif opcode in (SET_DRIVER_FEATURE, DISCONNECT, KEEPALIVE, GET_CONFIG_CHANGED):
            command.reply()
        else:
            values = {
                GET_FEATURE: 0 if device.dialect == "v5" else device.max_segs,
                GET_VENDOR_ID: device.vendor_id,
                GET_DEVICE_ID: device.device_id,
                GET_GENERATION: device.generation,
                GET_STATUS: device.status,
                GET_DEVICE_FEATURE: device.features,
                GET_NUM_QUEUES: device.num_queues,
                GET_QUEUE_SIZE: device.queue_size,
                SET_QUEUE_SIZE: 0,
            }
            if opcode == GET_QUEUE_SIZE and head[4] + 256 * head[5] >= device.num_queues:
                command.reply(status=0x1020 if device.dialect == "v5" else 22)
                return
            command.reply(values[opcode])

    def _connect(self, command: Command) -> None:
        target_id, queue = struct.unpack_from("<HH", command.raw, 4)
        tvqn = command.payload[256:512].split(b"\0", 1)[0].decode()
        named = tvqn == self.device.tvqn or not command.payload
        if not named or target_id not in (0xFFFF, self.device.target_id):
            command.reply(status=0x1001 if self.device.dialect == "v5" else 19)
            if self.device.dies:
                self.die()
            return
        command.connection.queue = -1 if target_id == 0xFFFF else queue
        command.reply(self.device.target_id)


class Hold:
    """A hook that keeps requests for the test to answer, in any order."""

    def __init__(self) -> None:
        self._held: list[Command] = []
        self._changed = threading.Condition()

    def __call__(self, command: Command) -> bool:
        if command.opcode not in REQUESTS:
            return False
        with self._changed:
            self._held.append(command)
            self._changed.notify_all()
        return True

    def take(self, count: int) -> list[Command]:
        """Wait for ``count`` commands and hand them over."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._held) >= count, PATIENCE)
            taken, self._held = self._held[:count], self._held[count:]
        return taken


def on(opcode: int, action: Callable[[Command], None], *, nth: int = 1) -> Hook:
    """Return a hook that answers the ``nth`` and every later command of an opcode by ``action``."""
    seen = 0

    def hook(command: Command) -> bool:
        nonlocal seen
        if command.opcode != opcode:
            return False
        seen += 1
        if seen < nth:
            return False
        action(command)
        return True

    return hook


def silence(_command: Command) -> None:
    """An action for ``on``: no answer."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that only polling can see, such as another thread having blocked."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"did not come about: {what}"
        time.sleep(0.001)
