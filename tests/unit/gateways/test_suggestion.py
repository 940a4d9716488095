# SPDX-License-Identifier: BSD-3-Clause
"""What is said of a word that is not known."""

from __future__ import annotations

import pytest

from vof.gateways.suggestion import likely, unknown

VERBS = ("connect", "connect-all", "disconnect", "list")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("conect", "connect"),
        ("connectall", "connect-all"),
        ("lst", "list"),
        ("x", None),
        ("", None),
        ("mount", None),
    ],
)
def test_only_what_is_close_was_meant(word: str, meant: str | None) -> None:
    assert likely(word, VERBS) == meant
    assert likely(word, iter(VERBS)) == meant


def test_nothing_is_known() -> None:
    assert likely("connect", ()) is None


def test_the_words() -> None:
    assert unknown("verb", "lst", VERBS) == "unknown verb 'lst'; did you mean 'list'?"
    assert (
        unknown("verb", "x", iter(VERBS[:2])) == "unknown verb 'x'; known are connect, connect-all"
    )
    assert unknown("verb", "x", VERBS, "ask") == "unknown verb 'x'; ask"
    assert unknown("verb", "lst", VERBS, "ask") == "unknown verb 'lst'; did you mean 'list'?"
