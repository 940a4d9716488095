# SPDX-License-Identifier: BSD-3-Clause
"""vofctl, run as a function."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from vof.gateways.cli.main import main

Run = Callable[..., tuple[int, bytes, str]]


class _Input:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return what runs the program: exit status, standard output, standard error."""

    def run(*words: object, data: bytes = b"") -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "stdin", _Input(data))
        try:
            status = main(list(map(str, words)))
        except SystemExit as end:
            status = end.code  # type: ignore[assignment]
        captured = capsysbinary.readouterr()
        return status, captured.out, captured.err.decode()

    return run
