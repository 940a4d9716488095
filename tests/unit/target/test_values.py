# SPDX-License-Identifier: BSD-3-Clause
"""How single values of the configuration are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vof.errors import ConfigError
from vof.target.values import (
    Values,
    flag,
    integer,
    not_empty,
    one_of,
    ports,
    power_of_two,
    seconds,
    size,
    size_within,
    text_up_to,
)

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (integer(0, 65535), "15771", 15771),
    (integer(0, 65535), "0x3d9b", 15771),
    (integer(0, 65535), "0X3D9B", 15771),
    (integer(0, 9), "0", 0),
    (ports, "8549", (8549,)),
    (ports, "15771 ,0x2165, 0", (15771, 8549, 0)),
    (ports, "0,0", (0, 0)),
    (size, "512", 512),
    (size, "4K", 4096),
    (size, "4k", 4096),
    (size, "64M", 64 << 20),
    (size, "1GiB", 1 << 30),
    (size, "2T", 2 << 40),
    (size, "0" * 5000 + "8K", 8192),
    (size, "8388607T", 8388607 << 40),
    (power_of_two(512, 65536), "4K", 4096),
    (size_within(512, 65536), "513", 513),
    (flag, "yes", True),
    (flag, "No", False),
    (seconds, "0.5", 0.5),
    (seconds, "86400", 86400.0),
    (one_of(["a", "b"]), "b", "b"),
    (text_up_to(20), "vof-000001", "vof-000001"),
    (text_up_to(3), "abc", "abc"),
    (not_empty, "/a b", "/a b"),
]

BAD: list[tuple[Callable[[str], object], str, str]] = [
    (integer(0, 65535), "65536", "from 0 to 65535"),
    (integer(0, 65535), "-1", "from 0 to 65535"),
    (integer(1, 5), "0", "from 1 to 5"),
    (integer(0, 5), "", "whole number"),
    (integer(0, 5), "1.5", "whole number"),
    (integer(0, 5), "0x", "whole number"),
    (integer(0, 99), "1_0", "whole number"),
    (integer(0, 99), "\u0661", "whole number"),
    (integer(0, 5), "9" * 5000, "whole number"),
    (seconds, "1_0", "number of seconds"),
    (seconds, "\u0661", "number of seconds"),
    (size, "99999999T", "is too large: a size is at most 8388607T"),
    (size, "9" * 5000, "is too large"),
    (ports, "7,65536", "is not a port from 0 to 65535"),
    (ports, "7,", "separated by commas"),
    (ports, "7 8", "separated by commas"),
    (ports, "7,8,0x7", "has port 7 twice"),
    (size, "", "is not a size"),
    (size, "-1", "is not a size"),
    (size, "4X", "is not a size"),
    (size, "4.5G", "is not a size"),
    (power_of_two(512, 65536), "513", "power of two"),
    (size_within(512, 65536), "511", "from 512 to 65536"),
    (size_within(512, 65536), "65K", "from 512 to 65536"),
    (power_of_two(512, 65536), "256", "power of two"),
    (power_of_two(512, 65536), "128K", "power of two"),
    (flag, "maybe", "neither yes nor no"),
    (seconds, "0", "seconds"),
    (seconds, "nan", "seconds"),
    (seconds, "inf", "seconds"),
    (seconds, "soon", "seconds"),
    (one_of(["a", "b"]), "c", "use a or b"),
    (text_up_to(3), "abcd", "is 4 bytes long; at most 3"),
    (text_up_to(3), "ää", "is 4 bytes long; at most 3"),
    (text_up_to(9), "a\tb", "cannot be printed"),
    (text_up_to(9), "a\udcff", "cannot be printed"),
    (not_empty, "", "is empty"),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_good(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "words"), BAD)
def test_bad(parse: Callable[[str], object], text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def where(key: str) -> str:
    return f"here: {key}"


def test_values_are_taken_once_and_the_rest_is_unknown() -> None:
    values = Values({"a": "1", "z": "2"}, where)
    assert values.take("a", integer(0, 9)) == 1
    assert values.take("b", integer(0, 9), 7) == 7
    with pytest.raises(ConfigError, match="here: z: unknown key; allowed here: a, b"):
        values.finish()


def test_a_default_of_no_is_a_default() -> None:
    assert Values({}, where).take("flag", flag, default=False) is False


def test_missing_and_bad_values_say_where() -> None:
    values = Values({"a": "x"}, where)
    with pytest.raises(ConfigError, match="here: a: 'x' is not a whole number"):
        values.take("a", integer(0, 9))
    with pytest.raises(ConfigError, match="here: b: is missing"):
        values.take("b", integer(0, 9))
