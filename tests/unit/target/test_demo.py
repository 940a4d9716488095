# SPDX-License-Identifier: BSD-3-Clause
"""What a demonstration tells a newcomer to type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vof.target.demo import demo_words


@pytest.mark.parametrize(
    ("ports", "needed"),
    [
        ((15771, 8549), None),
        ((8549, 15771), None),
        ((8549,), "8549"),
        ((7, 8549), "7"),
    ],
)
def test_the_port_is_said_where_it_is_not_an_initiators_own(
    ports: tuple[int, ...], needed: str | None
) -> None:
    words = demo_words(Path("/x"), "127.0.0.1", ports)
    expected = [needed] * 3 if needed else []
    assert re.findall(r"tport[ =](\d+)", words) == expected
