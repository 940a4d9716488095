# SPDX-License-Identifier: BSD-3-Clause
"""Recordings: JSON Lines, one message a line, in the order on the wire.

The first line describes the recording; ``transport`` tells what the others are. Each of those has
``conn``, which numbers the connections, ``dir`` and ``hex``: over TCP a stretch of the stream, over
RDMA one message, of which ``op`` says what it is. ``event`` is what happened instead; ``probe``
begins anew, with another target; ``note`` says what comes next. tests/vectors/README.md has more.

Must not know what the bytes mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from vof.decode.message import Direction, Where
from vof.errors import ConfigError

MAX_LINE = 64 << 20
"""Bytes of the longest line believed."""


class Line(NamedTuple):
    """One line after the first."""

    where: Where
    connection: int | None
    direction: Direction | None
    data: bytes
    op: str = ""
    """An RDMA operation."""
    event: str = ""
    note: str = ""
    """For people."""
    begins: bool = False
    """What follows is another conversation."""
    remote_addr: int = 0
    rkey: int = 0
    length: int = 0


def is_recording(beginning: bytes) -> bool:
    """True if a file that begins so is a recording."""
    return beginning.lstrip()[:1] == b"{"


def read_recording(file: BinaryIO) -> tuple[dict[str, str], Iterator[Line]]:
    """Return what the first line says, and the others.

    Raises ConfigError, also while the lines are read, where it is no such file.
    """
    about = _object(_line(file), 1)
    if about.get("transport") not in {"tcp", "rdma"}:
        raise ConfigError("not a recording: its first line names no transport")
    words = {name: value for name, value in about.items() if isinstance(value, str)}
    return words, _lines(file)


def _lines(file: BinaryIO) -> Iterator[Line]:
    number = 1
    while text := _line(file):
        number += 1
        if not text.strip():
            continue
        try:
            yield _parse(_object(text, number), Where(number))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"line {number} of the recording cannot be used: {error}") from None


def _line(file: BinaryIO) -> bytes:
    text = file.readline(MAX_LINE)
    if len(text) == MAX_LINE:
        raise ConfigError(f"the recording has a line of more than {MAX_LINE >> 20} MiB")
    return text


def _object(text: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the latter of what is nested too deep
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"line {number} of the recording is not a JSON object")
    return found


def _parse(line: dict[str, Any], where: Where) -> Line:
    direction = Direction(line["dir"]) if "dir" in line else None
    data = bytes.fromhex(line.get("hex", ""))
    numbers = [line.get(name, 0) for name in ("remote_addr", "rkey", "len")]
    connection = line.get("conn")
    if not all(isinstance(number, int) for number in (*numbers, connection or 0)):
        raise ValueError("a number is none")
    if "probe" in line:
        return Line(where, None, None, b"", note=str(line["probe"]), begins=True)
    if "note" in line:
        return Line(where, connection, None, b"", note=str(line["note"]))
    op, event = str(line.get("op", "")), str(line.get("event", ""))
    return Line(where, connection, direction, data, op, event, "", False, *numbers)
