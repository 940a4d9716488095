# SPDX-License-Identifier: BSD-3-Clause
"""The console device without a network: who waits, who is let go, and the link to a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.errors import ConfigError, RemoteProtocolError
from vof.target.backends.console_echo import KEPT, Echo
from vof.target.backends.console_pty import PtyOptions
from vof.target.devices.console import ConsoleDevice
from vof.target.devices.device import Cancelled, DeviceInstance, InUse, Outcome, Request


def device() -> ConsoleDevice:
    return ConsoleDevice("console", 0, Echo())


def submit(
    instance: DeviceInstance, queue: int, readable: bytes = b"", size: int = 0
) -> tuple[Request, list[Outcome]]:
    request = Request(queue, memoryview(readable), memoryview(bytearray(size)))
    outcomes: list[Outcome] = []
    instance.submit(request, outcomes.append)
    return request, outcomes


def test_a_receive_waits_for_a_byte() -> None:
    instance = device().new_instance()
    request, received = submit(instance, 0, size=10)
    assert received == []
    assert submit(instance, 1, b"abc")[1] == [0]
    assert received == [3]
    assert bytes(request.writable[:3]) == b"abc"


def test_a_transmit_waits_for_room() -> None:
    instance = device().new_instance()
    assert submit(instance, 1, bytes(KEPT))[1] == [0]
    _request, sent = submit(instance, 1, b"abc")
    assert sent == []
    assert submit(instance, 0, size=3)[1] == [3]
    assert sent == [0]


def test_no_request() -> None:
    [outcome] = submit(device().new_instance(), 1, b"")[1]
    assert isinstance(outcome, RemoteProtocolError)


def test_cancelled() -> None:
    instance = device().new_instance()
    request, outcomes = submit(instance, 0, size=1)
    instance.cancel(request)
    instance.cancel(request)
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Cancelled)
    assert submit(instance, 1, b"kept")[1] == [0]


def test_one_at_a_time() -> None:
    one = device()
    first = one.new_instance()
    with pytest.raises(InUse):
        one.new_instance()
    first.close()
    one.new_instance()


def test_the_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/pts/left-behind")
    end = PtyOptions(str(link)).open()
    end.claim()
    assert {"terminal": str(link.readlink())} == end.facts()
    end.close()
    assert not link.is_symlink()
    end.close()


def test_no_place_for_a_link(tmp_path: Path) -> None:
    end = PtyOptions(str(tmp_path)).open()
    with pytest.raises(ConfigError, match="no symbolic link"):
        end.claim()
    end.close()
