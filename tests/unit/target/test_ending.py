# SPDX-License-Identifier: BSD-3-Clause
"""What ends a connection; the rest is tested where a peer sees it, in tests/target."""

from __future__ import annotations

import pytest

from vof.target.ending import _describe


def test_an_unexpected_exception_is_named_with_its_place() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError) as caught:
        empty["x"]
    assert _describe(caught.value).startswith(
        "KeyError at test_an_unexpected_exception_is_named_with_its_place, line "
    )
