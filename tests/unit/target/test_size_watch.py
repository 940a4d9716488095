# SPDX-License-Identifier: BSD-3-Clause
"""Whoever looks at the devices tells their initiators; the thread is tested in tests/target."""

from __future__ import annotations

import errno
import os

import pytest

from tests.unit.target.place import Place, caller
from vof.target.clock import Clock
from vof.target.size_watch import SizeWatch
from vof.wire.constants import AsyncEvent
from vof.wire.dialect import V2

TOLD = [V2.event(AsyncEvent.CONFIG_CHANGE)]


def test_each_change_is_told_once() -> None:
    place = Place()
    link = place.link("control")
    place.table.connect_control(caller(dialect=V2), link)
    watch = SizeWatch(place.table, Clock())
    watch.look()
    assert link.events == []
    for size in (1 << 17, 1 << 15):
        place.backend.size = size
        watch.look()
        watch.look()
    assert link.events == TOLD * 2


def test_a_disk_that_cannot_tell(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line until it can again, and no other device suffers."""
    place = Place()
    link = place.link("control")
    place.table.connect_control(caller(dialect=V2), link)
    watch = SizeWatch(place.table, Clock())

    def fail() -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(place.backend, "measure", fail)
            watch.look()
            watch.look()
        watch.look()
    line = 'tvqn=dev event=no-size reason="Input/output error"'
    assert [record.getMessage() for record in caplog.records] == [line, line]
    place.backend.size *= 2
    watch.look()
    assert link.events == TOLD
