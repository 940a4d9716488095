# SPDX-License-Identifier: BSD-3-Clause
"""The reference target, played from recordings: each command is answered as it was then.

A command is recognised by what it means (opcode and arguments; for a block request its type, sector
and data), not by its bytes, and gets the bytes of the recorded answer with the ids, and the
division of the data over descriptors, of the command at hand. Whatever was not recorded closes the
connection, as the reference target does with what it does not know.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.protocol_numbers import (
    CONNECT,
    GET_CONFIG,
    GET_QUEUE_SIZE,
    SET_DRIVER_FEATURE,
    SET_STATUS,
    VRING,
)
from tests.support.scripted_target import Command, Descriptor, Device, ScriptedTarget
from tests.vectors.recordings import I2T, T2I, Recording, load

Meaning = tuple[object, ...]

TARGET_ID = 0x0BAD
"""The id this replay allocates; the recordings have 0, which could be mistaken for no id at all."""


@dataclass(frozen=True)
class Exchange:
    """A recorded command and its answer."""

    conn: int
    command: bytes
    descriptors: tuple[Descriptor, ...]
    payload: bytes
    completion: bytes
    data: bytes
    """What the device wrote, all device-writable descriptors together."""
    lengths: tuple[int, ...] = ()
    """How it was divided over them."""

    @property
    def opcode(self) -> int:
        return int.from_bytes(self.command[:2], "little")


def exchanges(recording: Recording) -> list[Exchange]:
    """Return what was asked and answered, in the order of the commands."""
    streams = {conn: bytearray(recording.stream(conn, T2I)) for conn in recording.conns}
    found = []
    for message in recording.messages:
        if message.direction != I2T or not message.data:
            continue
        for command, descriptors, payload in _commands(message.data):
            answers = streams[message.conn]
            ident = command[2:4]
            completion = _take(answers, 16)
            assert completion[2:4] == ident, "recordings with several in flight are not for this"
            table = _take(answers, 24 * int.from_bytes(completion[4:6], "little"))
            lengths = tuple(each[1] for each in struct.iter_unpack("<QIHHI4x", table))
            data = _take(answers, sum(lengths))
            found.append(
                Exchange(message.conn, command, descriptors, payload, completion, data, lengths)
            )
    return found


def _commands(data: bytes) -> Iterator[tuple[bytes, tuple[Descriptor, ...], bytes]]:
    rest = bytearray(data)
    while rest:
        head = _take(rest, 16)
        opcode = int.from_bytes(head[:2], "little")
        ndesc = int.from_bytes(head[8:10], "little") if opcode in (CONNECT, VRING) else 0
        table = _take(rest, 24 * ndesc)
        descriptors = tuple(Descriptor(*each) for each in struct.iter_unpack("<QIHHI4x", table))
        size = sum(each.length for each in descriptors if not each.writable)
        yield head, descriptors, _take(rest, size)


def _take(data: bytearray, size: int) -> bytes:
    assert len(data) >= size, "a recording ends within a message"
    part = bytes(data[:size])
    del data[:size]
    return part


def meaning(head: bytes, descriptors: tuple[Descriptor, ...], payload: bytes) -> Meaning:
    """Return what a command asks for, without ids and without what is ignored."""
    opcode = int.from_bytes(head[:2], "little")
    if opcode == CONNECT:
        is_control = head[4:6] == b"\xff\xff"
        return opcode, is_control, None if is_control else head[6:8], payload[256:512]
    if opcode == GET_CONFIG:
        return opcode, head[4:7]
    if opcode == GET_QUEUE_SIZE:
        return opcode, head[4:6]
    if opcode == SET_STATUS:
        return opcode, head[4]
    if opcode == SET_DRIVER_FEATURE:
        return opcode, head[8:16]
    if opcode == VRING:
        kind, _ioprio, sector = struct.unpack_from("<IIQ", payload)
        room = sum(each.length for each in descriptors if each.writable)
        return opcode, kind, sector, payload[16:], room
    return (opcode,)


class ReplayTarget(ScriptedTarget):
    """Answers from ``requests``' recording, and control commands from those of ``attach`` too."""

    def __init__(self, requests: str, *attach: str) -> None:
        self._answers: dict[Meaning, deque[Exchange]] = defaultdict(deque)
        self.unknown: list[Meaning] = []
        """Commands that were not recorded."""
        for name in (requests, *attach):
            for exchange in exchanges(load(name)):
                if name == requests or exchange.opcode != VRING:
                    key = meaning(exchange.command, exchange.descriptors, exchange.payload)
                    self._answers[key].append(exchange)
        super().__init__(Device(), self._replay)

    @property
    def unanswered(self) -> int:
        """The number of recorded requests that were not asked for yet."""
        return sum(len(queue) for key, queue in self._answers.items() if key[0] == VRING)

    def _replay(self, command: Command) -> bool:
        key = meaning(command.raw[:16], tuple(command.descriptors), command.payload)
        answers = self._answers[key]
        foreign = command.opcode == CONNECT and (
            struct.unpack_from("<H", command.raw, 4)[0] not in (0xFFFF, TARGET_ID)
        )
        if not answers or foreign:
            self.unknown.append(key)
            command.connection.close()
            return True
        exchange = answers.popleft() if command.opcode == VRING else answers[0]
        completion = bytearray(exchange.completion)
        completion[2:4] = command.raw[2:4]
        if command.opcode == CONNECT and key[1]:
            completion[8:10] = struct.pack("<H", TARGET_ID)
        if command.opcode != VRING:
            command.connection.send(bytes(completion))
            return True
        # The same bytes, cut as they were or else as the descriptors of this command want them.
        completion[4:6] = struct.pack("<H", len(command.writable))
        rooms = [each.length for each in command.writable]
        recorded = [each.length for each in exchange.descriptors if each.writable]
        lengths = exchange.lengths if rooms == recorded else rooms
        table, rest, addr = [], exchange.data, 0
        for each, wanted in zip(command.writable, lengths, strict=True):
            length = min(wanted, len(rest))
            table.append(struct.pack("<QIHHI4x", addr, length, each.id, each.flags, 0))
            rest, addr = rest[length:], addr + length
        assert not rest
        command.connection.send(bytes(completion) + b"".join(table) + exchange.data)
        return True
