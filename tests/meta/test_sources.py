# SPDX-License-Identifier: BSD-3-Clause
"""House rules that a linter does not know."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.meta.tree import PACKAGE, ROOT, named, python_sources, sources

SPDX = "SPDX-License-Identifier: BSD-3-Clause"

MAX_LINES = 450
"""Of a module in gateway/; beyond that it does more than one thing."""

VAGUE = {"common", "helper", "helpers", "misc", "shared", "util", "utils"}
"""Names that say nothing of what a module owns."""

# In two halves, or this file would contain them.
UNFINISHED = re.compile(
    "|".join(rf"\b{a}{b}\b" for a, b in [("TO", "DO"), ("FIX", "ME"), ("XX", "X")])
)

SOURCES = sources()
MODULES = python_sources()


def test_there_is_something_to_check() -> None:
    found = {named(path) for path in SOURCES}
    assert {
        ".ci/run",
        "Makefile",
        "gateway/vof/wire/stream.py",
        "man/nbdkit-vof-plugin.1",
        "nbdkit-plugin/vof_plugin.py",
        "pyproject.toml",
        "tests/meta/test_sources.py",
        "tools/setup.sh",
    } <= found
    assert len(WIRE) >= 7


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_licence_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    assert lines, "an empty file needs neither a licence nor a place in the tree"
    assert lines[0].removesuffix(" */").endswith(SPDX)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_nothing_is_left_to_do(path: Path) -> None:
    assert not UNFINISHED.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_names_say_something(path: Path) -> None:
    parts = {part.removesuffix(".py").removeprefix("test_") for part in path.parts[-4:]}
    assert not parts & VAGUE


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_docstring(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    assert text.partition("\n")[0].rstrip().endswith((".", ":", "?")) or "\n" in text


HEADLESS = re.compile(
    r"(What|Where|Whether|How|Which|That|Who|Whom|Whose|When|Why|If|May|Is|Are)(ever)?\b"
)
"""Words that begin a clause which leans on another; a headline stands alone."""

SHIPPED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] != "tests"]


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.suffix == ".py"], ids=named)
def test_a_module_begins_with_a_headline(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    headline = " ".join(text.partition("\n\n")[0].split())
    assert not HEADLESS.match(headline)
    assert headline.endswith(".")


TEXTS = {"proposal", "v2", "v5"}
"""The published texts of the protocol, as docs/protocol.md names them."""

ELSEWHERE = {"doc/proto.md"}
"""A document of NBD's."""


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_what_is_cited_can_be_found(path: Path) -> None:
    """It is in this project, or published."""
    text = path.read_text(encoding="utf-8")
    papers = set(re.findall(r"[\w./-]+\.md\b", text)) - ELSEWHERE
    assert [name for name in papers if not (ROOT / name).exists()] == []
    if path.suffix == ".py":
        assert set(re.findall(r"(?<![\w*`])\*(\w+)\*(?![\w*])", text)) <= TEXTS
    assert not re.search(r"\b(?:issue|ticket|bug) #?\d", text, re.IGNORECASE)


@pytest.mark.parametrize("path", [path for path in MODULES if PACKAGE in path.parents], ids=named)
def test_size(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


WIRE = [path for path in MODULES if path.parent == PACKAGE / "wire" and path.stem != "__init__"]


@pytest.mark.parametrize("path", WIRE, ids=named)
def test_wire_has_a_test_for_each_module(path: Path) -> None:
    assert (ROOT / "tests" / "unit" / "wire" / f"test_{path.stem}.py").exists()
