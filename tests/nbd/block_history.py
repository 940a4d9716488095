# SPDX-License-Identifier: BSD-3-Clause
"""A writer that knows of every block what it may hold, whatever becomes of its writes.

A block holds the last version whose write was acknowledged, or any later one whose outcome nobody
knows: its write was in flight when the connection was lost, or ended with an error.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import Any

import nbd

BLOCK = 4096
LARGEST = 64
"""Blocks of one write, at most."""

_STAMP = struct.Struct("<QQ")


@dataclass(frozen=True)
class _Request:
    first: int
    version: int
    """0 for a read."""
    buffer: Any

    @property
    def blocks(self) -> range:
        return range(self.first, self.first + self.buffer.size() // BLOCK)


class BlockHistory:
    """What ``count`` blocks may hold, and requests that keep it up to date."""

    def __init__(self, count: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._possible: list[set[int]] = [{0} for _ in range(count)]
        """Versions; 0 are zeros."""
        self._version = 0
        self._busy: set[int] = set()
        self.acknowledged = self.unknown = self.read = 0
        """Writes that were, writes nobody knows of, and reads that brought what they may."""

    def work(self, client: Any, depth: int, until: Any) -> bool:
        """Keep ``depth`` requests in flight until ``until()``; False where one of them failed."""
        flying: dict[int, _Request] = {}
        good = True
        try:
            while (good and not until()) or flying:
                while good and not until() and len(flying) < depth:
                    cookie, request = self._begin(client)
                    flying[cookie] = request
                client.poll(100)
                for cookie in list(flying):
                    if (ended := _ended(client, cookie)) is not None:
                        self._end(flying.pop(cookie), ended)
                        good &= ended
        except nbd.Error:
            good = False  # the connection itself
        for request in flying.values():
            self._end(request, False)
        return good

    def check(self, client: Any) -> None:
        """Read every block and compare it with what it may hold."""
        for first in range(0, len(self._possible), LARGEST):
            count = min(LARGEST, len(self._possible) - first)
            self._compare(first, client.pread(count * BLOCK, first * BLOCK))

    def _begin(self, client: Any) -> tuple[int, _Request]:
        while True:
            count = self._random.choice((1, 1, 2, 7, 16, LARGEST))
            first = self._random.randrange(len(self._possible) - count + 1)
            if self._busy.isdisjoint(range(first, first + count)):
                break
        self._busy.update(range(first, first + count))
        if self._random.random() < 0.3:
            buffer = nbd.Buffer(count * BLOCK)
            cookie = client.aio_pread(buffer, first * BLOCK)
            return cookie, _Request(first, 0, buffer)
        self._version += 1
        data = bytearray().join(
            _content(each, self._version) for each in range(first, first + count)
        )
        for each in range(first, first + count):
            self._possible[each].add(self._version)
        buffer = nbd.Buffer.from_bytearray(data)
        return client.aio_pwrite(buffer, first * BLOCK), _Request(first, self._version, buffer)

    def _end(self, request: _Request, good: bool) -> None:
        self._busy.difference_update(request.blocks)
        if not request.version:
            if good:
                self._compare(request.first, request.buffer.to_bytearray())
            return
        if good:
            self.acknowledged += 1
            for each in request.blocks:
                self._possible[each] = {request.version}
        else:
            self.unknown += 1

    def _compare(self, first: int, data: bytes | bytearray) -> None:
        for place in range(len(data) // BLOCK):
            block = bytes(data[place * BLOCK : (place + 1) * BLOCK])
            number = first + place
            _number, version = _STAMP.unpack_from(block)
            assert version in self._possible[number], (
                f"block {number} holds version {version}; it may hold {self._possible[number]}"
            )
            assert block == _content(number, version), f"block {number} is of several versions"
        self.read += 1


def _content(number: int, version: int) -> bytes:
    if not version:
        return bytes(BLOCK)
    return _STAMP.pack(number, version) * (BLOCK // _STAMP.size)


def _ended(client: Any, cookie: int) -> bool | None:
    """Return whether a request has ended well; None while it has not ended."""
    try:
        return True if client.aio_command_completed(cookie) else None
    except nbd.Error:
        return False
