# SPDX-License-Identifier: BSD-3-Clause
"""Hands a stream to a parser the way a connection would: in pieces, by either of its two doors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

_E = TypeVar("_E")


class Parser(Protocol[_E]):
    """What both stream parsers offer to those who receive for them."""

    @property
    def idle(self) -> bool: ...

    def feed(self, data: memoryview) -> list[_E]: ...

    def destinations(self) -> Sequence[memoryview]: ...

    def advance(self, count: int) -> list[_E]: ...


def deliver(parser: Parser[_E], data: bytes | memoryview, *, direct: bool) -> list[_E]:
    """Return what ``data`` completes.

    Where ``direct``, bytes whose place the parser knows are written there, as one receive into all
    of ``destinations()`` would write them; what exceeds them, and everything else, is fed.
    """
    view = memoryview(data)
    done: list[_E] = []
    if direct and parser.destinations():
        taken = _scatter(parser.destinations(), view)
        done += parser.advance(taken)
        view = view[taken:]
    if len(view) or not direct:
        done += parser.feed(view)
    return done


def _scatter(buffers: Sequence[memoryview], data: memoryview) -> int:
    taken = 0
    for buffer in buffers:
        count = min(len(buffer), len(data) - taken)
        buffer[:count] = data[taken : taken + count]
        taken += count
    return taken
