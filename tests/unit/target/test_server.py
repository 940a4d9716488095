# SPDX-License-Identifier: BSD-3-Clause
"""What a target says of a device that it begins to serve."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from vof.target.backends.memory import MemoryBackend
from vof.target.config import parse
from vof.target.server import Target

CONFIG = """
[target]
address = 127.85.49.3
port = 0
[one]
tvqn = a/one
model = block
backend = driver=block-memory,size=64K
"""


def test_what_only_running_shows_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBackend, "facts", lambda _backend: {"terminal": "/dev/pts/7"})
    config = parse(CONFIG, "test.conf")
    with caplog.at_level(logging.WARNING), Target(config) as target:
        assert caplog.messages == ["tvqn=a/one terminal=/dev/pts/7 event=serving"]
        caplog.clear()
        other = replace(config.devices[0], tvqn="a/two")
        target.reload(replace(config, devices=(*config.devices, other)))
        assert caplog.messages[0] == "tvqn=a/two terminal=/dev/pts/7 event=serving"


def test_nothing_is_logged_of_other_devices(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Target(parse(CONFIG, "test.conf")):
        assert caplog.messages == []
