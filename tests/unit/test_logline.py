# SPDX-License-Identifier: BSD-3-Clause
"""How log lines look, where they go, and that events are counted."""

from __future__ import annotations

import json
import logging
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof import logline
from vof.logline import (
    Event,
    LineFormatter,
    Throttle,
    describe,
    event,
    event_counts,
    printable,
    quote,
)


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logline, "_counts", {})


def record(level: int, text: str, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("vof", level, "file", 1, "%s", (text,), info)


def test_an_event(caplog: pytest.LogCaptureFixture) -> None:
    event(logging.WARNING, "violation", peer="127.0.0.1:4", tvqn="a/b c", more=None, reason="no")
    assert caplog.messages == ['peer=127.0.0.1:4 tvqn="a/b c" event=violation reason=no']


@given(st.text())
def test_a_value_stays_one_word_of_one_line(text: str) -> None:
    quoted = quote(text)
    assert quoted.isprintable()
    if quoted.startswith('"'):
        assert json.loads(quoted) == text
    else:
        assert not set(quoted) & set(' "=')


def test_letters_of_every_script_can_be_read() -> None:
    text = 'Диск 磁盘 עברית é😀 "%s" \\'
    assert quote(text) == '"Диск 磁盘 עברית é😀 \\"%s\\" \\\\"'
    assert printable(text) == text
    unseen = "\n\x1b[2J\u202e\udcff\U000e0001"
    assert printable(f"ж{unseen}") == "ж\\n\\x1b[2J\\u202e\\udcff\\U000e0001"
    assert quote(f"ж{unseen}") == '"ж\\n\\u001b[2J\\u202e\\udcff\\udb40\\udc01"'


@pytest.mark.usefixtures("no_events")
def test_events_are_counted_whether_or_not_they_are_logged() -> None:
    event(logging.DEBUG, "closed", peer="1.2.3.4:5")
    event(logging.WARNING, "violation", tvqn="disk", more=4)
    event(logging.WARNING, "violation", tvqn="disk")
    assert event_counts() == {Event("closed", ""): 1, Event("violation", "disk"): 6}


@pytest.mark.usefixtures("no_events")
def test_counts_do_not_grow_without_end() -> None:
    for number in range(logline.MAX_EVENTS + 10):
        event(logging.DEBUG, "opened", tvqn=f"disk {number}")
    assert len(event_counts()) == logline.MAX_EVENTS
    event(logging.DEBUG, "opened", tvqn="disk 0")
    assert event_counts()[Event("opened", "disk 0")] == 2


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)],
)
def test_the_journal_is_told_the_priority(level: int, priority: int) -> None:
    assert LineFormatter("vof: ").format(record(level, "a=b")) == "vof: a=b"
    assert LineFormatter("vof: ", journal=True).format(record(level, "a=b")) == f"<{priority}>a=b"


@given(st.text())
def test_a_record_stays_one_line(text: str) -> None:
    assert len(LineFormatter("vof: ").format(record(logging.INFO, text)).splitlines()) == 1


def test_an_exception_is_no_traceback() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError) as caught:
        empty["x"]
    line = LineFormatter("").format(record(logging.ERROR, "wrong", caught.value))
    expected = "KeyError at test_an_exception_is_no_traceback, line "
    assert describe(caught.value).startswith(expected)
    assert re.fullmatch(rf"wrong: {expected}\d+: 'x'", line)


def test_stderr_is_the_journal_only_where_systemd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    try:
        found = os.fstat(writing)
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not logline.is_journal(writing)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert logline.is_journal(writing)
        # As a child of a service has it whose stderr goes elsewhere.
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not logline.is_journal(writing)
    finally:
        os.close(reading)
        os.close(writing)


def test_lines_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logline.logger, "handlers", [])
    monkeypatch.setattr(logline.logger, "propagate", True)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    before = logline.logger.level
    try:
        logline.log_to_stderr("vof-test: ", logging.INFO)
        event(logging.DEBUG, "closed")
        event(logging.INFO, "opened", tvqn="disk")
    finally:
        logline.logger.setLevel(before)
    sys.stderr.flush()
    assert capfd.readouterr().err == "vof-test: tvqn=disk event=opened\n"


def test_the_throttle_counts_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("vof.logline.time.monotonic", lambda: now[0])
    throttle = Throttle(1.0)
    assert throttle.admit() == 0
    assert throttle.admit() is None
    assert throttle.admit() is None
    now[0] += 1.5
    assert throttle.admit() == 2
    assert throttle.admit() is None


def test_an_event_says_how_many_were_held_back_before_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr("vof.logline.time.monotonic", lambda: now[0])
    throttle = Throttle(1.0)
    for _ in range(3):
        throttle.event(logging.ERROR, "io-error", sector=1, reason="bad")
    now[0] += 1.5
    throttle.event(logging.ERROR, "io-error", sector=2, reason="worse")
    assert caplog.messages == [
        "sector=1 event=io-error reason=bad",
        "sector=2 more=2 event=io-error reason=worse",
    ]
