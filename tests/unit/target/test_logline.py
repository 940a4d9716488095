# SPDX-License-Identifier: BSD-3-Clause
"""How log lines look."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.target.logline import Throttle, event, quote


def test_an_event(caplog: pytest.LogCaptureFixture) -> None:
    event(logging.WARNING, "violation", peer="127.0.0.1:4", tvqn="a/b c", more=None, reason="no")
    assert caplog.messages == ['peer=127.0.0.1:4 tvqn="a/b c" event=violation reason=no']


@given(st.text())
def test_a_value_stays_one_word_of_one_line(text: str) -> None:
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert quoted.startswith('"') or not set(quoted) & set(' "=')


def test_the_throttle_counts_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("vof.target.logline.time.monotonic", lambda: now[0])
    throttle = Throttle(1.0)
    assert throttle.admit() == 0
    assert throttle.admit() is None
    assert throttle.admit() is None
    now[0] += 1.5
    assert throttle.admit() == 2
    assert throttle.admit() is None
