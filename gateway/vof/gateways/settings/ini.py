# SPDX-License-Identifier: BSD-3-Clause
"""The text of a configuration file: sections of ``key = value`` lines, each with its place.

Owns the form (vof.conf(5), "FORM"; ours). A line is empty, a comment that begins with ``#`` or
``;``, a ``[section]`` or ``key = value``; spaces around each part mean nothing. There are no
continuation lines and no comments behind a value, which may contain all but control characters.
Must not know which sections and keys there are. configparser does not tell the line of a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vof.gateways.settings.origin import Origin, Value, in_file

# Not all that cannot be printed: what joins letters, or turns their direction, is part of a name.
_ODD = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ufeff]")
_HEADER = re.compile(r"\[([^\[\]]*)\]")


@dataclass
class Section:
    """A section as it stands in one file."""

    header: str
    """What stands between the brackets, without spaces around it."""
    origin: Origin
    values: dict[str, Value] = field(default_factory=dict)


Report = Callable[[Origin, str, "Section | None"], None]
"""Takes what is wrong: where, in words, and within which section, if it is within one."""


def read_sections(path: Path, data: bytes, report: Report) -> list[Section]:
    """Return the sections of a file, in order. What is wrong goes to ``report``, and reading goes
    on behind it.
    """
    sections: list[Section] = []
    headers: dict[str, Section] = {}
    section: Section | None = None
    # Under a header that cannot be used there is nothing to complain of.
    skipping = False
    for number, line in enumerate(data.split(b"\n"), 1):
        origin = in_file(path, number)
        try:
            text = line.decode().strip(" \t\r")
        except UnicodeDecodeError as error:
            report(origin, f"not UTF-8 text: byte {line[error.start]:#04x}", section)
            continue
        if found := _ODD.search(text):
            odd = found[0]
            named = "a NUL" if odd == "\0" else f"the unprintable character {odd!a}"
            report(origin, f"contains {named}; this is no text", section)
            continue
        if not text or text[0] in "#;":
            continue
        if text[0] == "[":
            section, skipping = None, True
            found = _HEADER.fullmatch(text)
            if not found:
                report(origin, f"{text!r} is not a [section]", None)
                continue
            header = " ".join(found[1].split())
            section = Section(header, origin)
            if header in headers:
                before = headers[header].origin
                report(origin, f"[{header}] is here twice; it began in line {before.line}", section)
                continue
            skipping = False
            headers[header] = section
            sections.append(section)
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            report(origin, f"{text!r} is neither [section] nor key = value", section)
        elif section is None and not skipping:
            report(origin, f"{key} stands before the first [section]", None)
        elif section is not None and not skipping:
            if key in section.values:
                before = section.values[key].origin
                report(origin, f"{key} is given twice; first in line {before.line}", section)
                continue
            section.values[key] = Value(value, origin)
    return sections
