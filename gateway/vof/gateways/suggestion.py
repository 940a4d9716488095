# SPDX-License-Identifier: BSD-3-Clause
"""Words for one that is not known: the one that was likely meant, or all there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.6


def likely(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was likely meant, None where none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, _CLOSE)), None)


def unknown(what: str, word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return the words for one that is not known; ``otherwise`` stands for a list of the known."""
    known = list(known)
    text = f"unknown {what} '{word}'; "
    if (meant := likely(word, known)) is not None:
        return f"{text}did you mean '{meant}'?"
    return text + (otherwise or f"known are {', '.join(known)}")
