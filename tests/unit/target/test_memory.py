# SPDX-License-Identifier: BSD-3-Clause
"""The memory backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import ConfigError
from vof.target.backends.memory import MemoryBackend, MemoryOptions

SIZE = 5 * 4096


def read(backend: MemoryBackend) -> bytes:
    buffer = bytearray(backend.size)
    backend.read(memoryview(buffer), 0)
    return bytes(buffer)


@given(
    st.integers(0, SIZE),
    st.integers(0, SIZE),
    st.sampled_from(["discard", "zero", "unmap", "erase"]),
)
def test_ranges_are_zeros_and_nothing_else_is(one: int, other: int, kind: str) -> None:
    start, end = sorted((one, other))
    backend = MemoryBackend(SIZE)
    backend.write(memoryview(b"\xaa" * SIZE), 0, persist=False)
    if kind == "discard":
        backend.discard(start, end - start)
    elif kind == "erase":
        backend.secure_erase(start, end - start)
    else:
        backend.write_zeroes(start, end - start, unmap=kind == "unmap")
    expected = b"\xaa" * start + bytes(end - start) + b"\xaa" * (SIZE - end)
    assert read(backend) == expected
    backend.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def test_memory_is_taken_as_it_is_written_and_given_back() -> None:
    backend = MemoryBackend(1 << 40)
    before = resident()
    backend.write(memoryview(b"\xaa" * (64 << 20)), 1 << 39, persist=True)
    assert resident() - before > 50 << 20
    backend.discard(1 << 39, 64 << 20)
    assert resident() - before < 30 << 20
    backend.flush()
    backend.close()
    backend.close()


@pytest.mark.parametrize("size", [0, 1 << 62])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot get size={size} bytes"):
        MemoryOptions(size).open()


def test_what_it_offers() -> None:
    backend = MemoryOptions(4096).open()
    assert backend.can_discard
    assert backend.can_secure_erase
    assert backend.lifetime() == (0, 0, 0)
    backend.claim()
    backend.close()
