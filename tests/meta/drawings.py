# SPDX-License-Identifier: BSD-3-Clause
"""Reads the drawings and tables of docs/protocol.md.

A drawing is a block of rows of 8 bytes, each byte 10 columns wide, between bars; above it stand the
structure's name and size, behind each row the offset of its first byte.
"""

from __future__ import annotations

import re
from itertools import pairwise

BYTE = 10
ROW = 8

Drawn = dict[str, tuple[int, int]]
"""Offset and size of each field."""


def drawings(text: str) -> dict[str, tuple[int, Drawn]]:
    """Return size and fields of each structure that is drawn."""
    found: dict[str, tuple[int, Drawn]] = {}
    for block in re.findall(r"^```\n(\w+, \d+ bytes\n.*?)^```$", text, re.MULTILINE | re.DOTALL):
        title, _empty, ruler, *lines = block.splitlines()
        assert [ruler.index(str(place)) for place in range(ROW + 1)] == [
            1 + BYTE * place for place in range(ROW + 1)
        ]
        name, size = re.fullmatch(r"(\w+), (\d+) bytes", title).groups()  # type: ignore[union-attr]
        assert name not in found, f"{name} is drawn twice"
        fields: Drawn = {}
        for row, line in enumerate(line for line in lines if line.startswith(" |")):
            bars = [place for place, each in enumerate(line) if each == "|"]
            assert int(line[bars[-1] + 1 :]) == row * ROW, line
            for start, end in pairwise(bars):
                assert (start - 1) % BYTE == 0, line
                offset = row * ROW + (start - 1) // BYTE
                _add(fields, line[start + 1 : end].strip(), offset, (end - start) // BYTE)
        found[name] = int(size), fields
    return found


def _add(fields: Drawn, name: str, offset: int, size: int) -> None:
    """Take one cell; a field may go on in the next row."""
    before = fields.get(name)
    if before:
        assert sum(before) == offset, f"{name} is drawn in two places"
        offset, size = before[0], before[1] + size
    fields[name] = offset, size


def table(text: str, *heading: str) -> list[list[str]]:
    """Return the rows of the table whose heading begins with these columns."""
    lines = text.splitlines()
    [start] = [
        place for place, line in enumerate(lines) if _cells(line)[: len(heading)] == [*heading]
    ]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(_cells(line))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
