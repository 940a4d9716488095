# SPDX-License-Identifier: BSD-3-Clause
"""The manual pages have everything that the programs take, and nothing else."""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.manpage import Page
from tests.meta.tree import PACKAGE, ROOT, named
from vof.gateways.cli import arguments as control_program
from vof.gateways.cli import verbs
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.target_options import add_target_options
from vof.gateways.crypto.algorithms import ALGORITHMS
from vof.gateways.fuse import arguments as mount
from vof.gateways.fuse import control
from vof.gateways.fuse import options as mount_options
from vof.gateways.sessions.book import SessionBook
from vof.gateways.sessions.metrics import session_families
from vof.gateways.settings import keys, schema
from vof.gateways.settings.effective import BUILT_IN_VALUES
from vof.initiator.parameters import TRANSPORTS
from vof.metrics.families import common_families
from vof.target import cli
from vof.target.config import Config
from vof.target.server import Target
from vof.wire.dialect import DIALECTS

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
    assert {path.name for path in PAGES} >= {"nbdkit-vof-plugin.1", "vof-mount.1", "vof-target.8"}


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


# The page that all others stand on.


def test_transports_and_dialects() -> None:
    overview = page("vof.7")
    assert overview.keys("TRANSPORTS") == set(TRANSPORTS)
    assert overview.keys("DIALECTS") == {dialect.name for dialect in DIALECTS}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_page_leads_to_the_overview_and_back(path: Path) -> None:
    if path.stem != "vof":
        assert ("vof", "7") in Page(path).references
        assert (path.stem, path.suffix[1:]) in page("vof.7").references


# The page of the nbdkit plugin.


def test_plugin_parameters() -> None:
    assert page("nbdkit-vof-plugin.1").keys("PARAMETERS") == set(keys.PLUGIN)


def test_plugin_help() -> None:
    run = subprocess.run(
        [sys.executable, PLUGIN, "--help"], capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"^ +(\w+)= ", run.stdout, re.MULTILINE)) == set(keys.PLUGIN)
    for each in keys.PLUGIN.values():
        assert each.text in run.stdout
    assert run.stderr == ""


def test_plugin_defaults() -> None:
    """A default that the help tells is in the page, too."""
    text = page("nbdkit-vof-plugin.1").text
    for key, each in keys.PLUGIN.items():
        entry = text.partition(f".It Cm {key} ")[2].partition(".It ")[0]
        if default := re.search(r"\(default ([\w.]+\b)", each.text):
            assert default[1] in entry, key


@pytest.mark.nbdkit
def test_plugin_parameters_told_by_nbdkit() -> None:
    run = subprocess.run(
        ["nbdkit", "python", PLUGIN, "--dump-plugin"], capture_output=True, text=True, check=True
    )
    told = re.search(r"^vof_parameters=(.*)$", run.stdout, re.MULTILINE)
    assert told
    assert set(told[1].split(",")) == set(keys.PLUGIN)


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


# The page of vof-mount.


def test_mount_arguments() -> None:
    known = {option for action in mount.arguments()._actions for option in action.option_strings}
    assert {"-o", "-f"} <= known
    assert page("vof-mount.1").options == known


def test_mount_options() -> None:
    found = page("vof-mount.1")
    assert found.keys("MOUNT OPTIONS") == set(keys.MOUNT)
    passed_on = found.text.partition(".Sh MOUNT OPTIONS")[2].partition(".Sh THE TREE")[0]
    assert all(re.search(rf"\b{flag}\b", passed_on) for flag in mount_options.KERNEL_FLAGS)


def test_mount_help() -> None:
    text = mount.arguments().format_help()
    assert set(re.findall(r"^  (\w+)(?:=| {2})", text, re.MULTILINE)) == set(keys.MOUNT)
    assert all(each.text in text for each in keys.MOUNT.values())


def test_mount_defaults() -> None:
    """A default that the help tells is in the page, too."""
    text = page("vof-mount.1").text
    for key, each in keys.MOUNT.items():
        entry = text.partition(f".It Cm {key}")[2].partition(".It ")[0]
        if default := re.search(r"\(default ([\w.]+\b)", each.text):
            assert default[1] in entry, key


def test_control_file_keys() -> None:
    text = page("vof-mount.1").text.partition(".Sh CONTROL FILE")[2].partition(".Sh ")[0]
    told = set(re.findall(r"\w+", text))
    assert set(control.KEYS) <= told


# The page of the configuration.


@pytest.mark.parametrize("section", ["DEVICE", "MOUNT"])
def test_configuration_keys(section: str) -> None:
    known = schema.KEYS[schema.Kind(section.lower())]
    assert page("vof.conf.5").keys(section) == set(known)


def test_configuration_defaults() -> None:
    text = page("vof.conf.5").text
    apart = text.partition(".Sh DEFAULTS")[2].partition(".Sh ")[0]
    left_out = set(schema.DEVICE_KEYS) - set(schema.DEFAULTS_KEYS)
    assert all(re.search(rf"\b{key}\b", apart) for key in left_out)
    assert schema.DEFAULTS_KEYS.keys() < schema.DEVICE_KEYS.keys()
    for key in sorted(BUILT_IN_VALUES.keys() - {"iport"}):
        entry = text.partition(f".It Cm {key}\n")[2].partition(".It ")[0]
        assert re.search(rf"\b{BUILT_IN_VALUES[key]}\b", entry), key


# The page of the metrics.


def test_metrics() -> None:
    """Every family that the programs serve is in the page, and nothing else is."""
    named = page("vof-metrics.7").keys("METRICS OF GATEWAYS", "METRICS OF THE TARGET")
    named |= page("vof-metrics.7").keys("METRICS OF EVERY PROGRAM")
    families = [
        *session_families(SessionBook()),
        *Target(Config()).metrics(),
        *common_families("any"),
    ]
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in families
    }
    assert named == served


def test_events() -> None:
    """The events to watch are events that are logged."""
    text = page("vof-metrics.7").text.partition("Those to watch:")[2].partition(".El")[0]
    named = set(re.findall(r"^\.Li ([\w-]+)", text, re.MULTILINE))
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("gateways", "target")
        for path in (PACKAGE / folder).rglob("*.py")
    )
    assert {"violation", "lost", "internal-error"} <= named
    assert {name for name in named if f'"{name}"' not in source} == set()


# The pages of vofctl: one of all verbs, and one for each that is long.

OVERVIEW = page(f"{verbs.OVERVIEW}.8")
COMMON = "COMMON OPTIONS"
"""The section of the overview whose options no other page has to describe again."""


def leaves(parser: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield each verb, with its group if it is in one, and its options."""
    groups = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if not groups:
        yield words, option_strings(parser)
    for group in groups:
        for word, child in group.choices.items():
            yield from leaves(child, f"{words} {word}".strip())


def option_strings(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def target_options() -> set[str]:
    """Return the options that lead to a target; a synopsis has them as one word."""
    parser = argparse.ArgumentParser()
    add_target_options(parser)
    return option_strings(parser)


OPTIONS = dict(leaves(control_program.arguments()))
"""Of each verb."""


def page_of(words: str) -> str:
    return verbs.VERBS[words.split(maxsplit=1)[0]].page


CONTROL_PAGES = sorted({page_of(words) for words in OPTIONS})


def test_each_page_of_the_control_program_belongs_to_a_verb() -> None:
    assert {"vofctl", "vofctl-connect", "vofctl-crypto"} <= set(CONTROL_PAGES)
    assert {f"{name}.8" for name in CONTROL_PAGES} == {
        path.name for path in PAGES if path.name.startswith("vofctl")
    }


@pytest.mark.parametrize("name", CONTROL_PAGES)
def test_control_program_synopsis(name: str) -> None:
    """Each verb is in its page with its own options; those that lead to a target are one word."""
    once = target_options()
    calls = page(f"{name}.8").calls("vofctl")
    assert {words: options - once for words, options in calls.items()} == {
        words: {option for option in options - once if option.startswith("--")}
        for words, options in OPTIONS.items()
        if page_of(words) == name
    }


@pytest.mark.parametrize("name", CONTROL_PAGES)
def test_control_program_options(name: str) -> None:
    """Each option of a page's verbs is described in it, or is common; and no other is."""
    common = OVERVIEW.options_in(COMMON)
    described = page(f"{name}.8").options_outside(COMMON)
    taken = set().union(*(OPTIONS[words] for words in OPTIONS if page_of(words) == name))
    assert described == taken - common


def test_control_program_common_options() -> None:
    """They are options of the program itself, or of verbs of more than one page."""
    own = option_strings(control_program.arguments())
    pages: dict[str, set[str]] = {}
    for words, options in OPTIONS.items():
        for option in options:
            pages.setdefault(option, set()).add(page_of(words))
    common = OVERVIEW.options_in(COMMON)
    assert target_options() | own <= common
    assert {option for option in common - own if len(pages.get(option, ())) < 2} == set()


def test_control_program_overview() -> None:
    """Every verb is there; one that has a page of its own leads to it."""
    assert OVERVIEW.keys("VERBS") == set(verbs.VERBS)
    entries = OVERVIEW.text.partition(".Sh VERBS")[2].partition("\n.Sh ")[0].split("\n.It ")[1:]
    for entry in entries:
        heading = entry.partition("\n")[0]
        pages = {verbs.VERBS[word].page for word in re.findall(r"Cm ([\w-]+)", heading)}
        assert set(re.findall(r"^\.Xr (vofctl[\w-]*) 8", entry, re.MULTILINE)) == (
            pages - {verbs.OVERVIEW}
        ), heading


def parsers(
    parser: argparse.ArgumentParser, words: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each verb and each group with its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield f"{words} {word}".strip(), child
                yield from parsers(child, f"{words} {word}".strip())


def test_control_program_help_names_the_page() -> None:
    program = control_program.arguments()
    assert "See vofctl(8)." in program.format_help()
    for words, parser in parsers(program):
        assert parser.format_help().endswith(f"\n\nSee {page_of(words)}(8).\n"), words


def test_control_program_exit_status() -> None:
    text = OVERVIEW.text.partition(".Sh EXIT STATUS")[2].partition(".Sh ")[0]
    assert re.findall(r"^\.It (\d+)$", text, re.MULTILINE) == [str(int(each)) for each in Exit]


# The page of the crypto files.


def test_crypto_algorithms() -> None:
    text = page("vof-crypto.7").text.partition(".Sh ALGORITHMS")[2].partition(".Sh ")[0]
    told = set(re.findall(r"[a-z][\w-]*", text))
    for name in ALGORITHMS:
        family = re.sub(r"^aes-(192|256)-(?!xts)", "aes-128-", name)
        family = re.sub(r"^ecdsa-.*", "ecdsa-p256-sha256", family)
        assert family in told, name
