# SPDX-License-Identifier: BSD-3-Clause
"""The health tests: cutoffs, what fails and where, and that pieces make no difference."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.gateways.fuse.health import (
    PROPORTION_CUTOFF,
    REPETITION_CUTOFF,
    WINDOW,
    StreamTests,
    proportion_cutoff,
    repetition_cutoff,
)


def test_repetition_cutoffs() -> None:
    """C = 1 + ceil(20 / H)."""
    assert [repetition_cutoff(h) for h in (1, 2, 3, 4, 8)] == [21, 11, 8, 6, 4]
    assert REPETITION_CUTOFF == 21


@pytest.mark.parametrize("entropy", [1, 2, 4, 8])
def test_proportion_cutoffs(entropy: int) -> None:
    """The smallest count that a source of that entropy reaches less than once in 2^20 windows."""
    p = 2.0**-entropy

    def reached(count: int) -> float:
        return math.fsum(
            math.exp(
                math.lgamma(WINDOW + 1)
                - math.lgamma(k + 1)
                - math.lgamma(WINDOW - k + 1)
                + k * math.log(p)
                + (WINDOW - k) * math.log1p(-p)
            )
            for k in range(count, WINDOW + 1)
        )

    cutoff = proportion_cutoff(entropy)
    assert reached(cutoff) <= 2.0**-20 < reached(cutoff - 1)


def test_the_cutoff_in_use() -> None:
    assert proportion_cutoff() == PROPORTION_CUTOFF == 311


def failure(data: bytes, piece: int | None = None) -> str | None:
    tests = StreamTests()
    for place in range(0, len(data), piece or len(data)):
        tests.feed(data[place : place + (piece or len(data))])
    assert tests.failure or tests.tested == len(data)
    return tests.failure


NOISE = random.Random(1).randbytes(100_000)


def test_noise_passes() -> None:
    assert failure(NOISE) is None
    assert failure(NOISE, 777) is None


@pytest.mark.parametrize("byte", [0, 1, 0x80, 0xFF])
@pytest.mark.parametrize("place", [0, 1, 511, 512, 5000])
@pytest.mark.parametrize("piece", [None, 1, 20, 1000])
def test_repetitions(byte: int, place: int, piece: int | None) -> None:
    before = bytes(value ^ 0x55 if value == byte else value for value in NOISE[:place])
    run = bytes([byte]) * REPETITION_CUTOFF
    after = bytes([byte ^ 1])
    assert failure(before + run[1:] + after + NOISE, piece) is None
    said = failure(before + run + after + NOISE, piece)
    assert said == (f"repetition count: byte {byte:#04x} came 21 times in a row (at byte {place})")


def window(first: int, count: int) -> bytes:
    """Return a window that begins with ``first``, in which it comes ``count`` times, scattered."""
    others = [value for value in NOISE if value != first][: WINDOW - count]
    body = [first] * (count - 1) + others
    for seed in range(1000):
        mixed = list(body)
        random.Random(seed).shuffle(mixed)
        data = bytes([first, *mixed])
        if failure_of_repetition(data):
            continue
        return data
    raise AssertionError


def failure_of_repetition(data: bytes) -> bool:
    return any(bytes([value]) * REPETITION_CUTOFF in data for value in set(data))


@pytest.mark.parametrize("piece", [None, 1, 100, 512, 700])
@pytest.mark.parametrize("number", [0, 3])
def test_proportions(piece: int | None, number: int) -> None:
    before = NOISE[: number * WINDOW]
    assert failure(before + window(7, PROPORTION_CUTOFF - 1) + NOISE, piece) is None
    said = failure(before + window(7, PROPORTION_CUTOFF) + NOISE, piece)
    assert said is not None
    assert said.startswith("adaptive proportion: byte 0x07 came 311 times")
    assert f"at byte {number * WINDOW};" in said


def test_a_window_fails_as_soon_as_it_does() -> None:
    """Before its end, and only the first sample counts."""
    data = bytes([9, 9, 3]) * (PROPORTION_CUTOFF // 2)
    assert data.count(9) == PROPORTION_CUTOFF - 1
    assert failure(data) is None
    assert failure(data + bytes([9, 9])) is not None
    assert failure((bytes([3]) + bytes([9, 9, 3]) * 170)[:WINDOW]) is None


def test_a_failure_stays() -> None:
    tests = StreamTests()
    assert not tests.feed(bytes(100))
    said = tests.failure
    assert not tests.feed(NOISE)
    assert tests.failure == said


def test_the_alphabet_passes() -> None:
    assert failure(bytes(range(97, 123)) * 1000) is None


@given(
    st.lists(st.sampled_from([b"\0", b"\0" * 9, b"\1", b"ab", b"\0\1" * 30]), max_size=200),
    st.integers(1, 600),
)
def test_pieces_make_no_difference(parts: list[bytes], piece: int) -> None:
    """As to whether a stream fails, and where it first repeats."""
    data = b"".join(parts)
    if data:
        whole, split = failure(data), failure(data, piece)
        assert (whole is None) == (split is None)


def naive(data: bytes) -> bool:
    """Both tests as the publication words them, sample by sample."""
    repetitions = count = 0
    last = first = -1
    for place, sample in enumerate(data):
        repetitions = repetitions + 1 if sample == last else 1
        last = sample
        if place % WINDOW == 0:
            first, count = sample, 1
        elif sample == first:
            count += 1
        if repetitions >= REPETITION_CUTOFF or count >= PROPORTION_CUTOFF:
            return False
    return True


@given(st.integers(0, 1 << 32), st.integers(30, 100), st.integers(1, 900))
def test_as_published(seed: int, weight: int, piece: int) -> None:
    """Streams around the limit: the verdict is that of the plain algorithm."""
    rng = random.Random(seed)
    data = bytes(0 if rng.randrange(100) < weight else rng.randrange(256) for _ in range(2000))
    assert (failure(data, piece) is None) == naive(data)
