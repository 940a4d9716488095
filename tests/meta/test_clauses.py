# SPDX-License-Identifier: BSD-3-Clause
"""Every passage of the published texts has a test of each end that it asks something of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.conformance.clauses import LINES, PASSAGES, Passage
from tests.meta.tree import ROOT, named

Claim = tuple[str, str]
"""A passage's name, and an end."""


def claims(tree: ast.AST) -> Iterator[tuple[str, Claim]]:
    """Yield the tests that say which passage they test, and what they say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.clause":
                    passage, end = map(ast.literal_eval, mark.args)
                    yield node.name, (passage, end)


def collect() -> dict[Claim, list[str]]:
    """Return the tests of each passage and end."""
    found: dict[Claim, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name.startswith(("test_", "suite_")):
            for test, claim in claims(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(claim, []).append(f"{named(path)}::{test}")
    return found


CLAIMED = collect()

WANTED = [
    pytest.param(passage, end, id=f"{passage.name}-{end}")
    for passage in PASSAGES
    for end in passage.ends
]


@pytest.mark.parametrize(("passage", "end"), WANTED)
def test_a_passage_has_a_test(passage: Passage, end: str) -> None:
    assert CLAIMED.get((passage.name, end)), passage.says


@pytest.mark.parametrize("claim", CLAIMED, ids="-".join)
def test_what_is_claimed_is_a_passage(claim: Claim) -> None:
    name, end = claim
    (passage,) = [each for each in PASSAGES if each.name == name]
    assert end in passage.ends, CLAIMED[claim]


def test_no_line_is_left_out() -> None:
    for passages in LINES.values():
        for before, after in pairwise(passages):
            assert after[0] == before[1] + 1, after
        assert all(first <= last for first, last, *_says in passages)
    assert len({each.name for each in PASSAGES}) == len(PASSAGES)


def test_claims_are_found() -> None:
    source = """
@pytest.mark.clause("v2:50", "target")
@pytest.mark.parametrize("x", [1])
def test_it(): ...

class TestThat:
    @pytest.mark.clause("v2:51-53", "initiator")
    def test_this(self): ...
"""
    assert dict(claims(ast.parse(source))) == {
        "test_it": ("v2:50", "target"),
        "test_this": ("v2:51-53", "initiator"),
    }
