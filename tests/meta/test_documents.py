# SPDX-License-Identifier: BSD-3-Clause
"""README and docs: what they lead to is there, and the commands in them are commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.meta.tree import PACKAGE, ROOT, named
from vof.gateways.cli import arguments as control_program
from vof.gateways.cli.exits import Exit
from vof.gateways.fuse import arguments as mount
from vof.target import cli as target

README = ROOT / "README.md"
DOCUMENTS = [
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMES = [named(path) for path in DOCUMENTS]

PROGRAMS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "vofctl": control_program.arguments,
    "vof-mount": mount.arguments,
    "vof-target": target._arguments,
}


def links(path: Path) -> Iterator[str]:
    """Yield where the links and pictures of a document lead, within the project."""
    for place in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in place:
            yield place.partition("#")[0]


def places(path: Path) -> Iterator[str]:
    """Yield the files and folders of ours that are named in backquotes."""
    pattern = r"`((?:gateway|nbdkit-plugin|man|docs|tests|tools|udev|wireshark)/[\w./-]+)`"
    yield from re.findall(pattern, path.read_text(encoding="utf-8"))


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of each call of a program of ours in the indented blocks, as far as the next
    program of a pipe."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            continue  # half of a quotation: no command of one line
        for place, word in enumerate(words):
            if word in PROGRAMS and (place == 0 or words[place - 1] in {"|", "&", ";", "&&"}):
                rest = words[place + 1 :]
                ends = [at for at, each in enumerate(rest) if set(each) <= set("|&;<>()")]
                yield [word, *rest[: ends[0] if ends else len(rest)]]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_named_is_there(name: str) -> None:
    document = ROOT / name
    missing = [place for place in links(document) if not (document.parent / place).exists()]
    missing += [place for place in places(document) if not (ROOT / place).exists()]
    assert missing == []


def test_every_document_is_reached_from_the_readme() -> None:
    found: set[Path] = set()
    ahead = {README}
    while ahead:
        document = ahead.pop()
        found.add(document)
        near = {(document.parent / place).resolve() for place in links(document)}
        ahead |= {place for place in near if place.suffix == ".md"} - found
    assert set(DOCUMENTS) - found == set()


def is_taken(program: str, words: list[str]) -> bool:
    try:
        PROGRAMS[program]().parse_args(words)
    except SystemExit as ended:
        return not ended.code
    return True


def test_exit_statuses_of_the_symptoms() -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    named = {int(number) for number in re.findall(r"^\|[^|]+\((\d+)\) \|", text, re.MULTILINE)}
    assert named == {Exit.USAGE, Exit.UNREACHABLE, Exit.BUSY, Exit.NOT_FOUND, Exit.DENIED}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/performance.md"])
def test_commands_are_taken(name: str) -> None:
    """Not of performance.md, whose blocks are tables with our programs' names in them."""
    found = [words for words in commands(ROOT / name) if not {"…", "..."} & set(words)]
    assert [words for words in found if not is_taken(words[0], words[1:])] == []


def test_commands_are_found() -> None:
    first = [program for program, *_words in commands(ROOT / "docs" / "tutorial.md")]
    assert first[:2] == ["vof-target", "vofctl"]
    assert "vof-mount" in first


def test_the_picture_is_one_and_names_what_is_there() -> None:
    picture = ET.parse(ROOT / "docs" / "architecture.svg")
    names = [
        word
        for text in picture.iter("{http://www.w3.org/2000/svg}text")
        if text.get("class") == "file"
        for word in re.findall(r"[\w/-]+\.(?:py|pyx|c)\b", "".join(text.itertext()))
    ]
    assert len(names) > 20
    folders = (PACKAGE, ROOT / "gateway" / "native", ROOT / "nbdkit-plugin")
    files = [str(path) for folder in folders for path in folder.rglob("*")]
    missing = [name for name in names if not any(file.endswith(f"/{name}") for file in files)]
    assert missing == []
