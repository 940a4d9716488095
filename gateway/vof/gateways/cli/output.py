# SPDX-License-Identifier: BSD-3-Clause
"""The forms in which a verb answers, text for people or JSON for programs, and tells an error.

Owns the option ``-o``, the number of the JSON's form and the layout of the text. The JSON is one
object, or one for each of many, whose ``schema`` is ``SCHEMA``; within a schema keys may be added,
and none goes or changes its meaning (ours). Must not know any verb.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from vof.logline import printable

SCHEMA = 1
"""The form of the JSON of every verb; it grows when a key goes or changes its meaning."""

FORMATS = ("text", "json")


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Give a verb the option; it is ``output`` among the parsed arguments."""
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        default="text",
        help="text for people (the default), or json",
    )


def wants_json(arguments: argparse.Namespace) -> bool:
    """Return whether the verb is to write JSON."""
    return bool(arguments.output == "json")


def write_json(body: Mapping[str, object]) -> None:
    """Write the one object of a verb, ``schema`` first."""
    sys.stdout.write(_json(body, indent=2))


def write_json_line(body: Mapping[str, object]) -> None:
    """Write one of many objects, on a line of its own (JSON Lines), ``schema`` first."""
    sys.stdout.write(_json(body, indent=None))


def _json(body: Mapping[str, object], indent: int | None) -> str:
    # JSON is UTF-8: where the locale is not, what it escapes would not be JSON's.
    plain = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
    text = json.dumps({"schema": SCHEMA, **body}, indent=indent, ensure_ascii=plain)
    # What a peer or a file put into a name may be no character that can be written.
    return text.encode(errors="backslashreplace").decode() + "\n"


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under their headings; nothing where there is no row."""
    lines = [list(columns), *([cell(value) for value in row] for row in rows)]
    if len(lines) == 1:
        return
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            text + " " * (width - width_of(text)) for text, width in zip(line, widths, strict=True)
        )
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: a letter may have none, or two."""
    if text.isascii():
        return len(text)
    joining = sum(map(bool, map(unicodedata.combining, text)))
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) - joining + wide


def write_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Write ``key: value`` lines, as a mount's ``info`` has them."""
    for key, value in facts:
        sys.stdout.write(f"{key}: {cell(value)}\n")


def cell(value: object) -> str:
    """Return a value as text that stays on its line; ``-`` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def tell_error(text: str) -> None:
    """Write an error in one line on standard error, under the program's name."""
    sys.stderr.write(f"vofctl: {printable(text)}\n")
