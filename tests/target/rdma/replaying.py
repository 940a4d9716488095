# SPDX-License-Identifier: BSD-3-Clause
"""Recorded RDMA conversations as those over TCP are recorded, and an initiator that replays these
over RDMA: so that both are checked by the same code.

In a stream the device-readable bytes stand behind their command, and the device-writable ones
behind their completion. A recording has them as reads and writes of the memory that the command
names.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.target.peer import Peer
from tests.target.rdma.keyed_peer import Address, KeyedPeer
from vof.wire.v5 import KeyedDescriptor
from vof.wire.vq import written_lengths

CONNECT, VRING = 0, 0x2000
WRITABLE = 2

Described = tuple[int, int, int, int, int]
"""Address, length, id, flags and key."""


def descriptors(message: bytes) -> list[Described]:
    """What stands behind a command."""
    return [struct.unpack_from("<QIHHI", message, place) for place in range(16, len(message), 24)]


@dataclass
class Command:
    """One command of a recording, and what happened to its memory."""

    message: bytes
    buffers: list[Described]
    data: list[bytearray] = field(default_factory=list)
    """What was read of each buffer, or written to it."""

    @classmethod
    def of(cls, message: bytes) -> Command:
        buffers = descriptors(message)
        return cls(message, buffers, [bytearray() for _ in buffers])

    def take(self, address: int, key: int, data: bytes) -> bool:
        """Note a read or a write; False where it is none of this command's."""
        for (start, length, _id, _flags, own), known in zip(self.buffers, self.data, strict=True):
            if key == own and start <= address < start + length:
                assert address == start + len(known), "in order"
                known.extend(data)
                return True
        return False

    def whole(self, *, writable: bool) -> list[tuple[Described, bytes]]:
        return [
            (buffer, bytes(data))
            for buffer, data in zip(self.buffers, self.data, strict=True)
            if bool(buffer[3] & WRITABLE) == writable
        ]


def as_stream(path: Path, tail: int) -> Iterator[dict[str, object]]:
    """The messages of a recording, in the form of one over TCP; `tail` is the device's."""
    found: list[tuple[int, str, Command, bytes]] = []
    open_: dict[int, list[Command]] = {}
    asked: dict[int, tuple[int, int]] = {}
    with path.open(encoding="utf-8") as lines:
        next(lines)
        for line in map(json.loads, lines):
            conn, data = line["conn"], bytes.fromhex(line.get("hex", ""))
            commands = open_.setdefault(conn, [])
            match line["op"], line["dir"]:
                case "SEND", "i2t":
                    commands.append(Command.of(data))
                    found.append((conn, "i2t", commands[-1], b""))
                case "SEND", "t2i":
                    command = _answered(commands, data)
                    commands.remove(command)
                    found.append((conn, "t2i", command, data))
                case "READ_REQ", _:
                    asked[conn] = line["remote_addr"], line["rkey"]
                case "READ_RESP", _:
                    assert any(item.take(*asked[conn], data) for item in commands)
                case "WRITE", _:
                    place = line["remote_addr"], line["rkey"]
                    assert any(item.take(*place, data) for item in commands)
    for conn, direction, command, completion in found:
        if direction == "i2t":
            readable = command.whole(writable=False)
            if all(len(data) == buffer[1] for buffer, data in readable):  # else it was cut off
                text = command.message + b"".join(data for _buffer, data in readable)
                yield {"conn": conn, "dir": direction, "hex": text.hex()}
        else:
            yield {
                "conn": conn,
                "dir": direction,
                "hex": _completed(command, completion, tail).hex(),
            }


def _answered(commands: list[Command], completion: bytes) -> Command:
    """The command that a completion is of; the reference target's crypto device always says 0."""
    (ident,) = struct.unpack_from("<H", completion, 2)
    for command in commands:
        if struct.unpack_from("<H", command.message, 2)[0] == ident:
            return command
    [command] = commands
    return command


def _completed(command: Command, completion: bytes, tail: int) -> bytes:
    opcode, ident = struct.unpack_from("<HH", command.message)
    status, _id, _ndesc, value = struct.unpack("<HHH2xQ", completion)
    if opcode != VRING:
        return struct.pack("<HHH2xQ", status, ident, 0, value)
    # The reference target writes buffers to their ends even where it says that it used less.
    written = command.whole(writable=True)
    lengths = written_lengths(value, [len(data) for _buffer, data in written], tail)
    cut = [(item, data[:size]) for (item, data), size in zip(written, lengths, strict=True)]
    return _answer(ident, value, cut)


def _answer(ident: int, value: int, written: list[tuple[Described, bytes]]) -> bytes:
    returned, offset = b"", 0
    for (_addr, _length, number, flags, _key), data in written:
        returned += struct.pack("<QIHHI4x", offset, len(data), number, flags, 0)
        offset += len(data)
    head = struct.pack("<HHH2xQ", 0, ident, len(written), value)
    return head + returned + b"".join(data for _buffer, data in written)


class KeyedStream(Peer):
    """A connection that is one of RDMA, and looks like one of TCP."""

    def __init__(self, address: Address, *, tail: int) -> None:
        self.tail = tail
        self.sock = KeyedPeer(address)  # type: ignore[assignment]
        self.keyed: KeyedPeer = self.sock  # type: ignore[assignment]
        self._sent: dict[int, list[Described]] = {}
        self._came = b""
        self._next = 4096

    def send(self, data: bytes) -> Self:
        opcode, ident, _length, count = struct.unpack_from("<HHIH", data)
        if opcode not in (CONNECT, VRING):
            self._sent[ident] = []
            self.keyed.send(data)
            return self
        count = 1 if opcode == CONNECT else count
        message, rest = bytearray(data[:16]), data[16 + 24 * count :]
        writable = []
        for _addr, length, number, flags, _key in descriptors(data[: 16 + 24 * count]):
            part = self._room(length)
            place = part.addr - self.keyed.memory.address
            if flags & WRITABLE:
                writable.append((part.addr, length, number, flags, part.key))
            else:
                self.keyed.memory.view[place : place + length] = rest[:length]
                rest = rest[length:]
            message += struct.pack("<QIHHI4x", part.addr, length, number, flags, part.key)
        assert not rest
        self._sent[ident] = writable
        self.keyed.send(bytes(message))
        return self

    def receive(self, size: int) -> bytes:
        if not self._came:
            self._came = self._completion()
        data, self._came = self._came[:size], self._came[size:]
        assert len(data) == size
        return data

    def _completion(self) -> bytes:
        message = self.keyed.message()
        status, ident, ndesc, value = struct.unpack("<HHH2xQ", message)
        writable = self._sent.pop(ident)
        if not writable:
            return message
        assert (status, ndesc) == (0, len(writable))
        lengths = written_lengths(value, [item[1] for item in writable], self.tail)
        memory = self.keyed.memory
        return _answer(
            ident,
            value,
            [
                (item, bytes(memory.view[item[0] - memory.address :][:length]))
                for item, length in zip(writable, lengths, strict=True)
            ],
        )

    def _room(self, length: int) -> KeyedDescriptor:
        """Memory for a buffer. What is in flight together never fills half of it."""
        if self._next + length > len(self.keyed.memory.view):
            self._next = 4096
        part = self.keyed.memory.part(self._next, length)
        self._next += length + 16
        return part
