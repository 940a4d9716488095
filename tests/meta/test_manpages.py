# SPDX-License-Identifier: BSD-3-Clause
"""What the programs take is in their manual pages, and nothing else is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.manpage import Page
from tests.meta.tree import PACKAGE, ROOT, named
from vof.gateways import nbd
from vof.target import cli

PAGES = sorted(path for path in (ROOT / "man").glob("*.[1-8]"))
PLUGIN = ROOT / "nbdkit-plugin" / "vof_plugin.py"

ORDER = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "PARAMETERS",
    "OPTIONS",
    "EXIT STATUS",
    "EXAMPLES",
    "DIAGNOSTICS",
    "SEE ALSO",
]
"""Where a page has these sections, they come in this order; others stand between them."""


def page(name: str) -> Page:
    return Page(ROOT / "man" / name)


# Every page.


def test_the_pages() -> None:
    assert {path.name for path in PAGES} >= {"nbdkit-vof-plugin.1", "vof-target.8"}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_mandoc_finds_no_fault(path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("missing: mandoc; `make setup` installs it")
    run = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", path], capture_output=True, text=True, check=False
    )
    # Which manuals are installed on this machine says nothing about the page.
    assert [
        line for line in run.stdout.splitlines() if "referenced manual not found" not in line
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_frame(path: Path) -> None:
    found = Page(path)
    assert found.title == (path.stem.lower(), path.suffix[1:])
    assert found.sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    places = [ORDER.index(section) for section in found.sections if section in ORDER]
    assert places == sorted(places)
    assert found.sections[-1] == "SEE ALSO"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_references_to_our_own_pages(path: Path) -> None:
    ours = {tuple(other.name.rsplit(".", 1)) for other in PAGES}
    meant = {pair for pair in Page(path).references if "vof" in pair[0]}
    assert meant - ours == set()


# The page of the nbdkit plugin.


def test_plugin_parameters() -> None:
    assert page("nbdkit-vof-plugin.1").keys("PARAMETERS") == set(nbd.PARAMETERS)


def test_plugin_help() -> None:
    run = subprocess.run(
        [sys.executable, PLUGIN, "--help"], capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"^ +(\w+)= ", run.stdout, re.MULTILINE)) == set(nbd.PARAMETERS)
    for text in nbd.PARAMETERS.values():
        assert text in run.stdout
    assert run.stderr == ""


def test_plugin_defaults() -> None:
    """A default that the help tells is in the page, too."""
    text = page("nbdkit-vof-plugin.1").text
    for key, words in nbd.PARAMETERS.items():
        entry = text.partition(f".It Cm {key} ")[2].partition(".It ")[0]
        if default := re.search(r"\(default ([\w.]+\b)", words):
            assert default[1] in entry, key


@pytest.mark.nbdkit
def test_plugin_parameters_told_by_nbdkit() -> None:
    run = subprocess.run(
        ["nbdkit", "python", PLUGIN, "--dump-plugin"], capture_output=True, text=True, check=True
    )
    told = re.search(r"^vof_parameters=(.*)$", run.stdout, re.MULTILINE)
    assert told
    assert set(told[1].split(",")) == set(nbd.PARAMETERS)


# The page of the target.


def target_keys() -> set[str]:
    """Return every key the target's configuration takes: those of ``values.take("key", …)``."""
    keys = set()
    for path in (PACKAGE / "target").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "take" and len(node.args) > 1:
                assert isinstance(node.args[0], ast.Constant), f"{named(path)}:{node.lineno}"
                keys.add(str(node.args[0].value))
    return keys


def test_target_options() -> None:
    known = {option for action in cli._arguments()._actions for option in action.option_strings}
    assert {"--check", "--demo"} <= known
    assert page("vof-target.8").options == known


def test_target_keys() -> None:
    assert {"address", "tvqn", "driver", "path", "size", "serial"} <= target_keys()
    assert page("vof-target.8").keys() == target_keys()
