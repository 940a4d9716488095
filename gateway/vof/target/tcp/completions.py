# SPDX-License-Identifier: BSD-3-Clause
"""Forms the answer to an executed request on a stream, in both framings.

Owns which of the device-writable bytes come back. They fill the buffers from the start, but for the
``tail``, which is at the end whatever else was written (``DeviceInstance.tail``). With segment
descriptors what lies between is left out. Behind a vq command the whole area comes back then, and
what lies between is zeros: it has been somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from vof.wire.constants import Command, DescriptorFlag
from vof.wire.dialect import V5
from vof.wire.stream import ReceivedCommand, encode_vring_completion

KEPT_RESPONSE = (1 << 20) + (1 << 16)
"""Bytes of the largest buffer that a queue keeps for the next request, natively or not."""

_STEP = 1 << 13
_WRITE = int(DescriptorFlag.WRITE)


class ResponseBuffers:
    """Buffers of one queue, grown as needed: as many are kept as were in use at a time, but none
    that is larger than ``KEPT_RESPONSE``."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """Return ``size`` bytes, with whatever they hold."""
        if size > KEPT_RESPONSE:
            return memoryview(bytearray(size))
        kept = self._kept.pop() if self._kept else bytearray(_STEP)
        if size > len(kept):
            kept = bytearray(-(-size // _STEP) * _STEP)
        return memoryview(kept)[:size]

    def give(self, buffer: memoryview) -> None:
        """Take one back."""
        whole = buffer.obj
        assert isinstance(whole, bytearray)
        if len(whole) <= KEPT_RESPONSE:
            self._kept.append(whole)


def answer(
    command: ReceivedCommand, writable: memoryview, used: int, tail: int
) -> list[bytes | memoryview]:
    """Return the completion and the bytes behind it, where ``used`` bytes of ``writable`` were
    written: the first ones, and the last ``tail``."""
    if not command.descriptors:
        return _vq_answer(command, writable, used, tail)
    descriptors = [item for item in command.descriptors if item.flags & _WRITE]
    lengths = [item.length for item in descriptors]
    parts = [writable]
    if used < len(writable):
        lengths, parts = _split(lengths, used, tail, writable)
    returned = list(zip(descriptors, lengths, strict=True))
    return [encode_vring_completion(0, command.command_id, returned), *parts]


def _vq_answer(
    command: ReceivedCommand, writable: memoryview, used: int, tail: int
) -> list[bytes | memoryview]:
    size = in_length = len(writable)
    length = used
    if tail and 0 < used < size:
        begin, end = used - tail, size - tail
        writable[begin:end] = bytes(end - begin)
        length, in_length = size, used
    head = V5.complete(Command.VQ, command.command_id, value=length, in_length=in_length)
    return [head, writable[:length]]


def _split(
    lengths: Sequence[int], used: int, tail: int, writable: memoryview
) -> tuple[list[int], list[memoryview]]:
    """Return how much of each descriptor was written, and those bytes, where ``used`` are.

    They are the first ones of the area and its last ``tail``. A descriptor that has a part of the
    tail has to come back up to there, and so whole.
    """
    written, parts = [], []
    for length, end in zip(lengths, accumulate(lengths), strict=True):
        start = end - length
        stop = end
        if end <= len(writable) - tail:
            stop = max(start, min(end, used - tail))
        written.append(stop - start)
        parts.append(writable[start:stop])
    return written, parts
