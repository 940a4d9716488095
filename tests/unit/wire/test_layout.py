# SPDX-License-Identifier: BSD-3-Clause
"""A layout that is not what its offsets say cannot come into being."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from vof.wire.layout import Field, laid_out, layout_of, record


def test_fields_of_a_record() -> None:
    layout = record("HB3sQ", 14, first=0, second=2, third=3, fourth=6)
    assert layout.size == 14
    assert layout.fields == {
        "first": Field(0, 2),
        "second": Field(2, 1),
        "third": Field(3, 3),
        "fourth": Field(6, 8),
    }


def test_a_record_is_little_endian_and_packed() -> None:
    layout = record("BIH", 7, a=0, b=1, c=5)
    assert layout.pack(1, 0x04030201, 0x0605) == bytes([1, 1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("fmt", "size", "offsets"),
    [
        ("HH", 5, {"a": 0, "b": 2}),
        ("HH", 4, {"a": 0, "b": 3}),
        ("HH", 4, {"a": 2, "b": 0}),
        ("HI", 6, {"a": 0, "b": 4}),
        ("HH", 4, {"a": 0}),
        ("HH", 4, {"a": 0, "b": 2, "c": 4}),
        ("2H", 4, {"a": 0, "b": 2}),
        ("", 0, {"a": 0}),
    ],
)
def test_a_wrong_layout_raises(fmt: str, size: int, offsets: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="layout"):
        record(fmt, size, **offsets)


def test_a_class_gets_its_layout() -> None:
    @laid_out("HI", 6, a=0, b=2)
    class Pair(NamedTuple):
        a: int
        b: int

    assert layout_of(Pair).fields == {"a": Field(0, 2), "b": Field(2, 4)}
    assert layout_of(Pair).pack(*Pair(1, 2)) == bytes([1, 0, 2, 0, 0, 0])


def test_a_class_with_another_number_of_fields_raises() -> None:
    class Single(NamedTuple):
        a: int

    with pytest.raises(TypeError, match="Single"):
        laid_out("HI", 6, a=0, b=2)(Single)


def test_a_class_without_layout() -> None:
    class Bare(NamedTuple):
        a: int

    with pytest.raises(KeyError):
        layout_of(Bare)
