# SPDX-License-Identifier: BSD-3-Clause
"""Reads what a manual page of ours, written in mdoc(7), documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One tag of a list: ``.It``."""

    section: str
    """The heading it stands under."""
    options: tuple[str, ...]
    """Each ``Fl``, as typed: ``-v``, ``--verbose``."""
    keys: tuple[str, ...]
    """Each ``Cm`` that is not the value of another: ``key`` of ``key=value``, or of a file."""


class Page:
    """A manual page by its parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @property
    def title(self) -> tuple[str, ...]:
        """Name and section of ``.Dt``, in lower case."""
        return tuple(self._first("Dt").lower().split())

    @property
    def sections(self) -> list[str]:
        """The headings, in order."""
        return [words for macro, words in self._macros() if macro == "Sh"]

    @property
    def references(self) -> list[tuple[str, str]]:
        """Name and section of every page referred to."""
        pairs = []
        for macro, words in self._macros():
            if macro == "Xr":
                name, section, *_punctuation = words.split()
                pairs.append((name, section))
        return pairs

    @property
    def items(self) -> list[Item]:
        """The tags of all lists that are not nested in words."""
        found, heading = [], ""
        for macro, words in self._macros():
            if macro == "Sh":
                heading = words
            elif macro == "It":
                found.append(Item(heading, *_tags(words.split())))
        return found

    @property
    def options(self) -> set[str]:
        """Every option that has a tag."""
        return self.options_outside()

    def options_in(self, *sections: str) -> set[str]:
        """Return every option that has a tag in these sections."""
        items = (item for item in self.items if item.section in sections)
        return {option for item in items for option in item.options}

    def options_outside(self, *sections: str) -> set[str]:
        """Return every option that has a tag in other sections."""
        items = (item for item in self.items if item.section not in sections)
        return {option for item in items for option in item.options}

    def calls(self, program: str) -> dict[str, set[str]]:
        """Return the calls of a program with verbs that the synopsis shows: verb and long options.

        ``group a | b`` are two verbs, each with all of the call's options.
        """
        synopsis = self.text.partition(".Sh SYNOPSIS\n")[2].partition(".Sh ")[0]
        found: dict[str, set[str]] = {}
        for call in re.split(rf"^\.Nm(?: {program})?\n", synopsis, flags=re.MULTILINE):
            first, _newline, rest = call.partition("\n")
            if first.startswith(".Cm "):
                group, *words = first.removeprefix(".Cm ").replace("|", " ").split()
                options = {f"--{name}" for name in re.findall(r"Fl Fl ([\w-]+)", rest)}
                found |= {f"{group} {word}".strip(): options for word in words or [""]}
        return found

    def keys(self, *sections: str) -> set[str]:
        """Return every key that has a tag, in these sections or anywhere."""
        return {
            key
            for item in self.items
            if not sections or item.section in sections
            for key in item.keys
        }

    def _first(self, macro: str) -> str:
        return next(words for found, words in self._macros() if found == macro)

    def _macros(self) -> Iterator[tuple[str, str]]:
        for match in re.finditer(r"^\.([A-Z][a-z])(?: +(.*))?$", self.text, re.MULTILINE):
            yield match[1], (match[2] or "").strip()


def _tags(words: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    options, keys = [], []
    dashes = ""
    for place, (macro, word) in enumerate(pairwise(words)):
        if macro == "Fl":
            # Each Fl is a dash: "Fl v", "Fl Fl verbose"; some write "Fl -verbose".
            dashes += "-"
            if word != "Fl":
                options.append(dashes + word.replace("\\-", "-"))
                dashes = ""
        elif macro == "Cm" and words[max(0, place - 1)] != "Ns":
            keys.append(word)
    return tuple(options), tuple(keys)
