# SPDX-License-Identifier: BSD-3-Clause
"""Runs tests on both implementations of the data path; a folder's conftest.py asks for it."""

from __future__ import annotations

import pytest

from vof.implementation import VARIABLE, Implementation


@pytest.fixture(autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Force what ``on_both`` has chosen for the test, here and in the processes it starts."""
    name: str | None = getattr(request, "param", None)
    if name:
        monkeypatch.setenv(VARIABLE, name)
    return name


def on_both(metafunc: pytest.Metafunc) -> None:
    """Run the test once for each implementation."""
    names = [item.value for item in Implementation]
    metafunc.parametrize("implementation", names, indirect=True)
