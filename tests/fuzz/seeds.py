# SPDX-License-Identifier: BSD-3-Clause
"""Makes the fuzzers' seeds from the recordings in ``tests/vectors``.

Each seed is a stretch of one recorded connection in the input format of a harness (see its opening
comment), once as it was recorded and once in the other framing, of which there are no recordings.
Reads the streams by itself: shares nothing with ``vof``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.protocol_numbers import CONNECT, VRING
from tests.vectors.recordings import FOLDER, I2T, T2I, Recording, load

_COMMAND = struct.Struct("<HHI")
_COMPLETION = struct.Struct("<HHHHQ")
_DESCRIPTOR = struct.Struct("<QIHHI4x")

_LENGTHS = 1
_REFUSAL_CARRIES_BUFFERS = 2

_LARGEST = 4000
"""Bytes of a seed, if one command alone does not need more."""

_MOST_COMMANDS = 64

_DISK = 16
"""In units of 16 KiB."""


@dataclass(frozen=True)
class Exchange:
    """One command of a recording, and its completion."""

    command: bytes
    """With all that belongs to it."""
    vring: bool
    connect: bool
    command_id: int
    readable: bytes
    descriptors: Sequence[tuple[int, int]]
    """Ids and lengths of the device-writable ones."""
    completion: bytes = b""
    """With all that belongs to it; empty where none was recorded."""
    status: int = 0
    data: bytes = b""
    """What the completion brought for those descriptors."""

    @property
    def room(self) -> int:
        return sum(length for _ident, length in self.descriptors)


def write_seeds(folder: Path) -> None:
    """Write the seeds of every harness into ``folder``/<harness>."""
    made = {"completions": _completion_seeds, "commands": _command_seeds}
    for harness, make in made.items():
        target = folder / harness
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(FOLDER.glob("*-tcp-*.jsonl")):
            recording = load(path.stem)
            for number, seed in enumerate(make(recording)):
                (target / f"{path.stem}-{number}").write_bytes(seed)


def _completion_seeds(recording: Recording) -> Iterator[bytes]:
    for group in _groups(recording, lambda each: len(each.completion)):
        answered = [each for each in group if each.completion]
        if not answered:
            continue
        yield _script(_REFUSAL_CARRIES_BUFFERS, answered) + b"".join(
            each.completion for each in answered
        )
        vq = [each for each in answered if each.descriptors]
        yield _script(_LENGTHS, vq) + b"".join(
            struct.pack("<HH4xII", each.status, each.command_id, len(each.data), len(each.data))
            + each.data
            for each in vq
        )


def _script(flags: int, exchanges: Sequence[Exchange]) -> bytes:
    parts = [struct.pack("<BHB", flags, len(exchanges), len(exchanges))]
    for each in exchanges:
        first = each.descriptors[0][0] if each.descriptors else 0
        parts.append(struct.pack("<HHB", each.command_id, first, len(each.descriptors)))
        parts += [length.to_bytes(3, "little") for _ident, length in each.descriptors]
    return b"".join(parts)


def _command_seeds(recording: Recording) -> Iterator[bytes]:
    for number, whole in enumerate(_groups(recording, lambda each: len(each.command))):
        group = whole[1:] if whole[0].connect else whole  # a queue begins behind its Connect
        # With everything negotiated.
        yield struct.pack("<BHBB", 0, number, 0xFF, _DISK) + b"".join(
            each.command for each in group
        )
        yield struct.pack("<BHBB", _LENGTHS, number, 0xFF, _DISK) + b"".join(
            struct.pack("<HH4xII", 0x0FFF, each.command_id, len(each.readable), each.room)
            + each.readable
            if each.vring
            else each.command
            for each in group
        )


def _groups(recording: Recording, size: object) -> Iterator[list[Exchange]]:
    assert callable(size)
    for conn in recording.conns:
        group: list[Exchange] = []
        total = 0
        for each in _exchanges(recording.stream(conn, I2T), recording.stream(conn, T2I)):
            if group and (total + size(each) > _LARGEST or len(group) == _MOST_COMMANDS):
                yield group
                group, total = [], 0
            group.append(each)
            total += size(each)
        if group:
            yield group


def _exchanges(sent: bytes, returned: bytes) -> list[Exchange]:
    """Return the commands of a connection, as far as they are whole, with their completions."""
    exchanges: list[Exchange] = []
    while sent and (each := _command(sent)):
        exchanges.append(each)
        sent = sent[len(each.command) :]
    while len(returned) >= _COMPLETION.size:
        status, ident, ndesc, _reserved, _value = _COMPLETION.unpack_from(returned)
        found = [
            place
            for place, each in enumerate(exchanges)
            if not each.completion and ident in (each.command_id, 0)
        ]
        if not found:
            break
        each = exchanges[found[0]]
        # The recorded target refuses with ndesc 0, yet sends the descriptors nevertheless.
        count = ndesc or (len(each.descriptors) if each.vring else 0)
        end = _COMPLETION.size + count * _DESCRIPTOR.size
        if len(returned) < end:
            break
        data = end
        for place in range(count):
            end += _DESCRIPTOR.unpack_from(returned, 16 + place * _DESCRIPTOR.size)[1]
        whole = returned[:end]
        exchanges[found[0]] = replace(
            each, completion=whole, status=status, data=returned[data:end]
        )
        returned = returned[end:]
    return exchanges


def _command(stream: bytes) -> Exchange | None:
    if len(stream) < 16:
        return None
    opcode, ident, _length = _COMMAND.unpack_from(stream)
    count = int.from_bytes(stream[8:10], "little") if opcode in (CONNECT, VRING) else 0
    start = 16 + count * _DESCRIPTOR.size
    if len(stream) < start:
        return None
    table = [_DESCRIPTOR.unpack_from(stream, 16 + place * 24) for place in range(count)]
    end = start + sum(length for _addr, length, _ident, flags, _key in table if not flags & 2)
    if len(stream) < end:
        return None
    return Exchange(
        command=stream[:end],
        vring=opcode == VRING,
        connect=opcode == CONNECT,
        command_id=ident,
        readable=stream[start:end],
        descriptors=[(own, length) for _addr, length, own, flags, _key in table if flags & 2],
    )
