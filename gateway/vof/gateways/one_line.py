# SPDX-License-Identifier: BSD-3-Clause
"""Text of others that is put where a line ends a fact."""

from __future__ import annotations


def one_line(value: object) -> str:
    """Return a value as text that stays on its line."""
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
