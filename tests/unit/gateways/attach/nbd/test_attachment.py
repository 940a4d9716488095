# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's device, given connections and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gateways.attach import stage
from tests.unit.gateways.attach.stage import (
    IDENTIFIER,
    SIZE,
    FakeNetlink,
    Handshakes,
    StandingClock,
    Story,
    fail,
)
from vof.errors import VofError
from vof.gateways.attach.nbd import blockdev
from vof.gateways.attach.nbd.attachment import Attachment


class Place:
    """An attachment and what is around it."""

    def __init__(self, folder: Path) -> None:
        self.story = Story()
        self.clock = StandingClock()
        self.kernel = stage.paint(folder)
        self.netlink = FakeNetlink(self.kernel, self.story)
        self.shake = Handshakes()
        self.attachment = Attachment(stage.plan(), self.kernel, self.netlink, self.clock)  # type: ignore[arg-type]
        self.attachment.identifier = IDENTIFIER
        self.broken = 0

    def break_off(self) -> None:
        self.broken += 1

    def detach(self, force: bool = False) -> float:
        """Return how long it takes."""
        start = self.clock.now()
        self.attachment.detach(force=force, break_off=self.break_off)
        return self.clock.now() - start


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_connect(place: Place) -> None:
    found = place.attachment.connect(place.shake, SIZE, 4096)
    assert (found.device.name, found.device.size) == ("nbd0", SIZE)
    assert place.attachment.holds(found.device)
    assert place.attachment.find() == found.device
    assert len(place.shake.sockets) == 2
    assert place.shake.all_closed  # the kernel has its own


def test_what_the_kernel_refuses(place: Place) -> None:
    place.story.on("connect", fail("it is in use"))
    with pytest.raises(VofError, match="it is in use"):
        place.attachment.connect(place.shake, SIZE, 512)
    assert place.shake.all_closed
    assert place.attachment.find() is None


def test_a_kernel_that_listens_to_a_part_is_asked_anew(place: Place) -> None:
    place.netlink.receivers = 1
    place.story.on("disconnect", lambda: None, lambda: setattr(place.netlink, "receivers", 2))
    place.attachment.connect(place.shake, SIZE, 512)
    assert place.story.events.count("connect") == 3
    assert place.shake.all_closed


def test_a_kernel_that_never_listens_to_all(place: Place) -> None:
    place.netlink.receivers = 1
    with pytest.raises(VofError, match="does not listen to all 2 connections, tried 6 times"):
        place.attachment.connect(place.shake, SIZE, 512)
    assert place.attachment.find() is None


def test_reconnect_waits_for_the_old_connections_to_end(place: Place) -> None:
    device = place.attachment.connect(place.shake, SIZE, 512).device
    seen = []
    place.story.on("reconfigure", lambda: seen.append(device.receivers()))
    sleep = place.clock.sleep

    def notice(seconds: float) -> None:
        sleep(seconds)
        if len(place.clock.slept) == 3:
            place.netlink.listen(0)

    place.clock.sleep = notice  # type: ignore[method-assign]
    place.attachment.reconnect(device, place.shake, SIZE)
    assert seen == [0]
    assert device.receivers() == 2
    assert place.shake.all_closed


def test_reconnect_to_a_disk_that_has_grown(place: Place) -> None:
    device = place.attachment.connect(place.shake, SIZE, 512).device
    place.netlink.listen(0)
    place.attachment.reconnect(device, place.shake, 2 * SIZE)
    assert device.size == 2 * SIZE


def test_reconnect_to_a_disk_that_has_shrunk(place: Place) -> None:
    device = place.attachment.connect(place.shake, SIZE, 512).device
    place.netlink.listen(0)
    with pytest.raises(VofError, match="disconnect and connect it again"):
        place.attachment.reconnect(device, place.shake, SIZE // 2)
    assert "reconfigure" not in place.story.events


def test_reconnect_that_the_kernel_does_not_take_up(place: Place) -> None:
    device = place.attachment.connect(place.shake, SIZE, 512).device
    place.netlink.listen(0)
    place.netlink.receivers = 1
    with pytest.raises(VofError, match="does not listen to all"):
        place.attachment.reconnect(device, place.shake, SIZE)


def test_usable(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockdev, "_is_block_device", lambda _path: True)
    device = place.attachment.connect(place.shake, SIZE, 512).device
    place.attachment.wait_until_usable(device, SIZE)
    assert (device.folder / "uevent").read_text().endswith(" VOF=ready")
    with pytest.raises(VofError, match=f"has {SIZE} bytes, not 512"):
        place.attachment.wait_until_usable(device, 512)
    place.clock.stuck = {"read_start"}
    with pytest.raises(VofError, match="answers too slowly: a first read takes more than"):
        place.attachment.wait_until_usable(device, SIZE)
    place.clock.stuck.clear()
    (place.kernel.dev / "nbd0").unlink()
    with pytest.raises(VofError, match="cannot be read: No such file"):
        place.attachment.wait_until_usable(device, SIZE)


def test_detach(place: Place) -> None:
    place.attachment.connect(place.shake, SIZE, 512)
    assert place.detach() < 1
    assert place.attachment.find() is None
    assert not place.broken


def test_nothing_of_others_is_detached(place: Place) -> None:
    place.attachment.connect(place.shake, SIZE, 512)
    (place.netlink.folder / "backend").write_text("vof:other:serial\n")
    place.detach()
    place.attachment.identifier = ""
    (place.netlink.folder / "backend").write_text("\n")
    place.detach(force=True)
    assert "disconnect" not in place.story.events


@pytest.mark.parametrize("force", [False, True])
def test_detach_when_everything_hangs(place: Place, force: bool) -> None:
    """It takes a few seconds whatever happens, and breaks what the kernel waits for."""
    place.attachment.connect(place.shake, SIZE, 512)
    place.clock.stuck = {"flush", "<lambda>"}
    assert place.detach(force) <= 6 + 2 + 0.1 + (0 if force else 5)
    assert place.broken == 1


def test_detach_of_what_fails(place: Place) -> None:
    """A flush that fails, and a kernel that refuses, keep nobody."""
    place.attachment.connect(place.shake, SIZE, 512)
    (place.kernel.dev / "nbd0").unlink()
    place.story.on("disconnect", fail("no"))
    place.detach()
    assert place.story.events[-1] == "disconnect"
