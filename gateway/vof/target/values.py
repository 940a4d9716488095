# SPDX-License-Identifier: BSD-3-Clause
"""Values of the configuration file: text in; numbers, sizes and flags out.

Owns how one value is written and the words that say what is allowed. Must not know which keys
exist, nor which file they stand in: ``config`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from vof.errors import ConfigError

T = TypeVar("T")

_SIZE = re.compile(r"([0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_DIGITS = 20
_DECIMAL = re.compile(f"[0-9]{{1,{_DIGITS}}}")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_SECONDS = re.compile(r"[0-9]{1,5}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
# What Python takes beyond these, as digits of other scripts and underscores, nobody means.

MAX_SHOWN = 300
"""Characters of a value that a message shows."""

MAX_SIZE = (1 << 63) - 1
"""Bytes that a file can have at most."""

_SUFFIXES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_FLAGS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers, decimal or ``0x``, from ``low`` to ``high``."""

    def parse(text: str) -> int:
        number = low - 1
        if _DECIMAL.fullmatch(text):
            number = int(text)
        elif _HEXADECIMAL.fullmatch(text):
            number = int(text, 16)
        if not low <= number <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return number

    return parse


def ports(text: str) -> tuple[int, ...]:
    """Parse one port or several, separated by commas. Each 0 stands for a free one, and any other
    may be there once."""
    try:
        numbers = tuple(integer(0, 65535)(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(
            "is not a port from 0 to 65535, nor several of them, separated by commas"
        ) from None
    for number in filter(None, numbers):
        if numbers.count(number) > 1:
            raise ValueError(f"has port {number} twice")
    return numbers


def seconds(text: str) -> float:
    """Parse a time of 0.1 to 86,400 seconds."""
    number = float(text) if _SECONDS.fullmatch(text) else 0.0
    if not 0.1 <= number <= 86400:
        raise ValueError("is not a number of seconds from 0.1 to 86400")
    return number


def size(text: str) -> int:
    """Parse a number of bytes, with K, M, G or T for powers of 1,024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size: digits, then K, M, G, T or nothing (64M, 1073741824)")
    digits = found[1].lstrip("0") or "0"
    number = int(digits[:_DIGITS]) << _SUFFIXES[found[2].upper()]
    if len(digits) > _DIGITS or number > MAX_SIZE:
        raise ValueError(f"is too large: a size is at most {MAX_SIZE >> 40}T")
    return number


def size_within(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of sizes from ``low`` to ``high``."""

    def parse(text: str) -> int:
        number = size(text)
        if not low <= number <= high:
            raise ValueError(f"is not a size from {low} to {high}")
        return number

    return parse


def power_of_two(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of sizes that are powers of two from ``low`` to ``high``."""

    def parse(text: str) -> int:
        number = size(text)
        if not low <= number <= high or number & (number - 1):
            raise ValueError(f"is not a power of two from {low} to {high}")
        return number

    return parse


def flag(text: str) -> bool:
    """Parse yes or no."""
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError("is neither yes nor no") from None


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """Return a parser that takes exactly ``choices``."""
    known = tuple(choices)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"is not known; use {' or '.join(known)}")
        return text

    return parse


def text_up_to(limit: int) -> Callable[[str], str]:
    """Return a parser of text of at most ``limit`` bytes in UTF-8."""

    def parse(text: str) -> str:
        if not text.isprintable():
            raise ValueError("has characters that cannot be printed")
        length = len(text.encode())
        if length > limit:
            raise ValueError(f"is {length} bytes long; at most {limit} are allowed")
        return text

    return parse


def not_empty(text: str) -> str:
    """Take any text but none."""
    if not text:
        raise ValueError("is empty")
    return text


def _shown(text: str) -> str:
    quoted = repr(text)
    return quoted if len(quoted) <= MAX_SHOWN else f"{quoted[:MAX_SHOWN]}..."


class Values:
    """Keys and values of one place in the file, each to be taken once; what is left over is
    unknown.

    ``where`` turns a key into the words that say where it stands, such as ``vtgt.conf:3: [target]
    port``.
    """

    def __init__(self, items: Mapping[str, str], where: Callable[[str], str]) -> None:
        self._items = dict(items)
        self._where = where
        self._asked: list[str] = []

    def take(self, key: str, parse: Callable[[str], T], default: T | None = None) -> T:
        """Return the parsed value of ``key``, or ``default`` where the file has none.

        Raises ConfigError where the value cannot be used, or is missing and there is no default.
        """
        self._asked.append(key)
        text = self._items.pop(key, None)
        if text is None:
            if default is None:
                raise ConfigError(f"{self._where(key)}: is missing")
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise ConfigError(f"{self._where(key)}: {_shown(text)} {error}") from None

    def finish(self) -> None:
        """Raise ConfigError where a key was given that nobody took."""
        for key in self._items:
            allowed = ", ".join(self._asked)
            raise ConfigError(f"{self._where(key)}: unknown key; allowed here: {allowed}")
