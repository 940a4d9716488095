# SPDX-License-Identifier: BSD-3-Clause
"""Messages as lines for people.

    time        connection  queue  direction  command  id  what it says

Owns the layout and nothing of the meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from vof.decode.message import UNKNOWN, Bits, Bytes, Direction, Kind, Message, Named, Value

_ARROWS = {Direction.I2T: "→", Direction.T2I: "←", None: " "}

_MARGIN = 13
"""Columns of the time, or of the line's number where there is no time."""

_ROW = 16
"""Bytes in a line of a dump."""

_HEX = frozenset({"addr", "key"})
"""Numbers that are shown in hexadecimal."""

_FIRST = ("status", "answer", "request")
"""Values that come first, without their names, and apart from the rest."""

_MOST_ERRNO = 4096
"""Statuses above are shown in hexadecimal, as the text that has them writes them."""

_PLAIN = frozenset({"device", "type", "note", "how"})
"""Values that say themselves what they are."""


class Text:
    """Writes messages in the order of the file."""

    def __init__(self, *, with_bytes: bool, with_keys: bool) -> None:
        self._with_bytes = with_bytes
        self._with_keys = with_keys
        self._start: int | None = None

    def show(self, message: Message) -> str:
        """Return the lines of a message."""
        if self._start is None:
            self._start = message.where.time
        lines = [self._line(message).rstrip()]
        lines += (f"{'':{_MARGIN}}! {problem}" for problem in message.problems)
        if self._with_bytes:
            lines += self._bytes(message)
        return "".join(f"{_harmless(line)}\n" for line in lines)

    def _line(self, message: Message) -> str:
        if message.kind is Kind.CAPTURE:
            return self._beginning(message)
        queue = {"": "?", "control": "ctl"}.get(message.queue, f"vq{message.queue}")
        if message.connection is None:
            place = " " * 10
        else:
            place = f"{message.connection:>3} {queue:<5} "
        name = message.name or {Kind.COMMAND: "?", Kind.COMPLETION: "?"}.get(message.kind, "")
        kind = {Kind.COMMAND: "", Kind.COMPLETION: ""}.get(message.kind, message.kind.value)
        ident = "" if message.command_id is None else str(message.command_id)
        words = " ".join(filter(None, (kind, name)))
        return (
            f"{self._when(message):>{_MARGIN - 2}}  {place}{_ARROWS[message.direction]} "
            f"{words:<20} {ident:>5}  {_told(message.decoded)}{_latency(message)}"
        )

    def _beginning(self, message: Message) -> str:
        told = ", ".join(f"{name} {value}" for name, value in message.decoded.items())
        if message.where.time is not None:
            start = datetime.fromtimestamp(message.where.time // 10**9, UTC)
            told = f"begins {start:%Y-%m-%d %H:%M:%S} UTC"
        return f"# {told}" if told else "#"

    def _when(self, message: Message) -> str:
        if message.where.time is None or self._start is None:
            return f"#{message.where.number}"
        return f"{(message.where.time - self._start) / 1e9:.6f}"

    def _bytes(self, message: Message) -> Iterator[str]:
        for part, prefix in ((Bytes(message.head), "  "), (message.payload, "| ")):
            digits = dump(part, self._with_keys)
            previous: list[str] = []
            for place in range(0, len(digits), _ROW):
                row = digits[place : place + _ROW]
                if row != previous:
                    yield (
                        f"{'':{_MARGIN}}{prefix}{place:06x}  {' '.join(row):<{_ROW * 3}} "
                        f"{''.join(map(_character, row))}"
                    )
                elif digits[place - _ROW * 2 : place - _ROW] != row:
                    yield f"{'':{_MARGIN}}{prefix}*"
                previous = row


def _harmless(line: str) -> str:
    """Return a line without what a peer may have put into a name for the terminal to obey."""
    if line.isprintable():
        return line
    escaped = (each.encode("unicode_escape").decode("ascii") for each in line)
    return "".join(
        each if each.isprintable() else other for each, other in zip(line, escaped, strict=True)
    )


def _latency(message: Message) -> str:
    """Return how long a command took."""
    asked = message.answers.time if message.answers else None
    if asked is None or message.where.time is None:
        return ""
    return f"  [{(message.where.time - asked) / 1000:.0f} µs]"


def dump(content: Bytes, with_keys: bool) -> list[str]:
    """Return each byte in two characters: ``??`` is missing, ``**`` may be of a key."""
    digits = [f"{byte:02x}" for byte in content.data]
    marks = [(hole, "??") for hole in content.missing]
    if not with_keys:
        marks += [(part, "**") for part in content.secret]
    for places, mark in marks:
        digits[places.start : places.stop] = [mark] * len(places)
    return digits


def _character(digits: str) -> str:
    try:
        byte = int(digits, 16)
    except ValueError:
        return digits[0]
    return chr(byte) if 0x20 <= byte < 0x7F else "."


def _told(decoded: Mapping[str, Value]) -> str:
    first = [_one(name, decoded[name]) for name in _FIRST if name in decoded]
    status = decoded.get("status")
    if isinstance(status, Named) and status.value:
        number = f"{status.value:#x}" if status.value > _MOST_ERRNO else status.value
        first[0] = f"status {number}: {status.name}"
    rest = {name: value for name, value in decoded.items() if name not in _FIRST}
    return "; ".join(filter(None, (*first, _list(rest))))


def _list(values: Mapping[str, Value]) -> str:
    return ", ".join(
        _one(name, value) if name in _PLAIN else f"{name} {_one(name, value)}"
        for name, value in values.items()
    )


def _one(name: str, value: Value) -> str:
    if isinstance(value, Named):
        return value.name if value.name != UNKNOWN else f"{value.name} {value.value:#x}"
    if isinstance(value, Bits):
        return f"{value.value:#x} ({'|'.join(value.names)})" if value.value else "0"
    if isinstance(value, int):
        return f"{value:#x}" if name in _HEX else str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        # A request in few words: the device, what is asked of it, and then its numbers.
        words = [_one(key, value[key]) for key in ("device", "type") if key in value]
        rest = {key: item for key, item in value.items() if key not in {"device", "type"}}
        lead = ["device"] if name == "answer" else words
        return " ".join(filter(None, (*lead, _list(rest))))
    assert isinstance(value, Sequence)
    return (
        "/".join(
            f"({_one(name, item)})" if isinstance(item, Mapping) else _one(name, item)
            for item in value
        )
        or "none"
    )
