# SPDX-License-Identifier: BSD-3-Clause
"""Pieces of a connection that need no socket; the rest is tested over TCP in tests/target."""

from __future__ import annotations

import pytest

from vof.target.connection import _describe


def test_an_unexpected_exception_is_named_with_its_place() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError) as caught:
        empty["x"]
    assert _describe(caught.value).startswith(
        "KeyError at test_an_unexpected_exception_is_named_with_its_place, line "
    )
