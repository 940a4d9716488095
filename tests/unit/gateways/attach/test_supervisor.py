# SPDX-License-Identifier: BSD-3-Clause
"""Every ending of an attached disk. nbdkit, time and the kernel are stand-ins; signals are real."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateways.attach import stage
from tests.unit.gateways.attach.stage import (
    SIZE,
    FakeFence,
    FakeNetlink,
    Handshakes,
    StandingClock,
    Story,
    Workshop,
    fail,
    send,
)
from vof.errors import ConfigError, VofError
from vof.gateways.attach import supervisor
from vof.gateways.attach.facts import Facts
from vof.gateways.attach.nbd import blockdev
from vof.gateways.attach.nbd.attachment import Attachment
from vof.gateways.attach.nbd.handshake import Connection
from vof.gateways.attach.signals import hold_back
from vof.gateways.attach.state import END, END_NOW, Record, StateFolder
from vof.gateways.attach.supervisor import Parts, Supervisor, run
from vof.program import Interrupted

ENDS = (END, END_NOW, signal.SIGINT, signal.SIGHUP)
NBD0 = "block/nbd0"


class Disk:
    """A supervisor and all around it."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.story = Story()
        self.clock = StandingClock()
        self.kernel = stage.paint(folder)
        self.netlink = FakeNetlink(self.kernel, self.story)
        self.workshop = Workshop(self.story)
        self.shake = Handshakes()
        self.fence_asks = 0
        self.fence_reason = ""
        self.plan = stage.plan(**options)
        self.state = StateFolder(folder / "vof")
        self.size = SIZE
        self.records: list[Record] = []
        self.seen: list[dict[str, Any]] = []

    def claim(self) -> Supervisor:
        claim = self.state.claim(None, "disk0", self.plan.tvqn, "here")
        parts = Parts(
            look=self._look,
            nbdkit=self.workshop,
            shake=self._shake,
            fence=self._fence,
            enter_block_path=lambda: None,
            wait_for_links=lambda _device, _name: self.story.note("links"),
            clock=self.clock,
        )
        attachment = Attachment(self.plan, self.kernel, self.netlink, self.clock)  # type: ignore[arg-type]
        return Supervisor(self.plan, claim, attachment, parts)

    def run(self) -> None:
        run(self.claim(), self._ready)

    def die(self) -> None:
        """nbdkit ends by itself, and the kernel notices."""
        self.workshop.die()
        self.netlink.listen(0)

    def look(self) -> None:
        """See what others see of it now."""
        path = self.state.path / "devices/disk0/state.json"
        self.seen.append(json.loads(path.read_text()))

    def assert_nothing_is_left(self) -> None:
        assert self.state.entries() == []
        assert not any(each.alive for each in self.workshop.made)
        assert not (self.kernel.sys / NBD0 / "pid").exists()
        assert self.shake.all_closed

    def _ready(self, record: Record) -> None:
        self.records.append(record)
        self.story.note("heard")

    def _look(self, _plan: object) -> Facts:
        self.story.note("look")
        return Facts(self.size, 512, "serial")

    def _shake(self, *_where: object) -> Connection:
        self.story.note("shake")
        return self.shake()

    def _fence(self, process: int, port: int) -> FakeFence:
        assert (process, port) == (self.workshop.made[-1].pid, self.plan.parameters.tport)
        return FakeFence(self.story, self.clock, self.fence_asks, self.fence_reason)


@pytest.fixture(autouse=True)
def _around(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A regular file is the device; the signals are as before afterwards."""
    monkeypatch.setattr(blockdev, "_is_block_device", lambda _path: True)
    before = {each: signal.getsignal(each) for each in ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


term: Callable[[], object] = partial(send, END)
now: Callable[[], object] = partial(send, END_NOW)
interrupt: Callable[[], object] = partial(send, signal.SIGINT)


def test_a_disk_until_it_is_asked_to_end(disk: Disk) -> None:
    disk.story.on("watch", lambda: None, disk.look, term)
    disk.run()
    [record] = disk.records
    assert (record.state, record.device, record.size) == (
        "connected",
        str(disk.kernel.dev / "nbd0"),
        SIZE,
    )
    assert disk.seen[0]["state"] == "connected"
    assert disk.story.events[-4:] == ["watch", "disconnect", "drop", "end 1"]
    disk.assert_nothing_is_left()


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("moment", ["look", "start", "ready", "connect", "connected", "links"])
def test_asked_to_end_while_it_attaches(disk: Disk, moment: str, number: signal.Signals) -> None:
    """At any point, whatever the kernel has by then."""
    disk.story.on(moment, partial(send, number))
    with pytest.raises(Interrupted):
        disk.run()
    assert disk.records == []
    disk.assert_nothing_is_left()


@pytest.mark.parametrize("number", ENDS)
def test_asked_to_end_before_it_attaches(disk: Disk, number: signal.Signals) -> None:
    """When it has an entry, and nothing that would take it away again yet."""
    hold_back()
    supervisor = disk.claim()
    send(number)
    with pytest.raises(Interrupted) as interrupted:
        run(supervisor, disk.records.append)
    # Who starts this program sees what has ended it; of SIGQUIT it would see a core.
    assert interrupted.value.number == (END if number == END_NOW else number)
    assert disk.story.events == []
    disk.assert_nothing_is_left()


def test_a_signal_that_is_ignored_stays_so(disk: Disk) -> None:
    """The terminal's end, in the background or under nohup(1)."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    disk.story.on("look", partial(send, signal.SIGHUP))
    disk.story.on("watch", term)
    disk.run()
    assert [record.state for record in disk.records] == ["connected"]


@pytest.mark.parametrize("number", [END, END_NOW])
def test_what_asks_for_the_end_is_always_heeded(disk: Disk, number: signal.Signals) -> None:
    """A shell without job control ignores SIGQUIT for what it starts in the background."""
    signal.signal(number, signal.SIG_IGN)
    disk.story.on("watch", partial(send, number))
    disk.run()
    disk.assert_nothing_is_left()


@pytest.mark.parametrize("moment", ["look", "start", "ready", "connect", "links"])
def test_what_fails_while_it_attaches(disk: Disk, moment: str) -> None:
    disk.story.on(moment, fail("no luck"))
    with pytest.raises(VofError, match="no luck"):
        disk.run()
    disk.assert_nothing_is_left()


def test_a_kernel_without_nbd(disk: Disk) -> None:
    """Said before anything is tried, whether there is a target or not."""
    disk.netlink.missing = True
    with pytest.raises(ConfigError, match="has no nbd"):
        disk.run()
    assert "look" not in disk.story.events
    disk.assert_nothing_is_left()


def test_an_attach_that_is_refused(disk: Disk) -> None:
    def refuse() -> None:
        raise ConfigError("cannot attach the disk: it is in use", errno=16)

    disk.story.on("connect", refuse)
    with pytest.raises(ConfigError, match="in use"):
        disk.run()
    assert "disconnect" not in disk.story.events  # that is somebody else's
    disk.assert_nothing_is_left()


def test_nbdkit_dies_before_it_is_attached(disk: Disk) -> None:
    disk.story.on(
        "shake", lambda: None, lambda: [act() for act in (disk.die, fail("no NBD connection"))]
    )
    with pytest.raises(VofError, match="no NBD connection"):
        disk.run()
    disk.assert_nothing_is_left()


def test_whoever_started_it_has_gone(disk: Disk) -> None:
    """Nobody acknowledges: the disk, usable already, is taken back."""
    disk.story.on("heard", fail("whoever started this has gone"))
    with pytest.raises(VofError, match="has gone"):
        disk.run()
    assert "watch" not in disk.story.events
    disk.assert_nothing_is_left()


def test_a_signal_while_nobody_has_acknowledged(disk: Disk) -> None:
    """It is attached, and may end as one that is."""
    disk.story.on("heard", term)
    disk.run()
    disk.assert_nothing_is_left()


def test_a_disk_that_somebody_else_detached(disk: Disk) -> None:
    disk.story.on("watch", (disk.kernel.sys / NBD0 / "backend").unlink)
    disk.story.on("drop", lambda: None)
    disk.run()
    assert "disconnect" not in disk.story.events
    assert disk.state.entries() == []


def test_nbdkit_dies(disk: Disk) -> None:
    """Another one is started once the target is done with what the first has left there."""
    disk.fence_asks = 2
    disk.story.on("watch", disk.die, lambda: None, term)
    disk.story.on("fence", disk.look)
    disk.story.on("reconfigure", disk.look)
    disk.run()
    begin = disk.story.events.index("fence")
    assert disk.story.events[begin : begin + 5] == [*["fence"] * 2, "look", "start", "ready"]
    assert [each["state"] for each in disk.seen] == ["restarting"] * 2
    assert disk.seen[0]["error"] == "it fell"
    assert [each["restarts"] for each in disk.seen] == [1, 1]
    assert disk.workshop.made[1].number == 2
    disk.assert_nothing_is_left()


def test_nbdkit_is_not_to_be_started_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path, restart="no")
    disk.story.on("watch", disk.die)
    with pytest.raises(VofError, match="nbdkit ended \\(it fell\\), and is not to be started"):
        disk.run()
    assert len(disk.workshop.made) == 1
    [entry] = disk.state.entries()  # why is to be seen afterwards
    assert entry.owner is None
    assert entry.record is not None
    assert entry.record.error == "it fell"
    disk.state.claim(None, "disk0", disk.plan.tvqn, "here").release()
    disk.assert_nothing_is_left()


def test_nbdkit_dies_again_and_again(disk: Disk) -> None:
    """It is tried for ever, at longer and longer intervals; each nbdkit ends before the next."""
    nothing = lambda: None  # noqa: E731
    disk.story.on("ready", nothing, *[fail("still not")] * 8)
    disk.story.on("watch", disk.die, nothing, disk.look, term)
    disk.run()
    assert disk.clock.slept[-9:] == [0, 1, 2, 4, 8, 10, 10, 10, 10]
    assert [f"kill {number}" in disk.story.events for number in range(2, 10)] == [True] * 8
    assert disk.story.events.count("fence") == 1
    assert (disk.seen[0]["restarts"], disk.seen[0]["error"]) == (1, "still not")
    assert disk.seen[0]["state"] == "connected"
    disk.assert_nothing_is_left()


def test_each_death_begins_anew(disk: Disk) -> None:
    """The intervals count failures in a row, not deaths."""
    disk.story.on("watch", disk.die, disk.die, disk.die, disk.look, term)
    disk.run()
    assert disk.clock.slept[-3:] == [0, 0, 0]
    assert disk.seen[0]["restarts"] == 3


def test_no_target_is_waited_for_longer_than_the_kernel_waits(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fence_asks = 1 << 20
    disk.story.on("watch", disk.die, term)
    begin = disk.clock.now()
    disk.run()
    seconds = disk.plan.fence_timeout
    assert seconds == disk.plan.kernel_timeout + disk.plan.dead_timeout
    assert seconds <= disk.clock.now() - begin < seconds + 10
    assert f"is not known: it has not closed its connections within {seconds} s" in caplog.text
    assert "reconfigure" in disk.story.events


def test_where_nothing_can_be_waited_for(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.fence_reason = "there is no TCP connection to wait for"
    disk.story.on("watch", disk.die, term)
    disk.run()
    assert "not known: there is no TCP connection" in caplog.text
    assert "reconfigure" in disk.story.events


@pytest.mark.parametrize("moment", ["fence", "start", "ready", "reconfigure"])
@pytest.mark.parametrize("number", ENDS)
def test_asked_to_end_while_nbdkit_is_started_again(
    disk: Disk, moment: str, number: signal.Signals
) -> None:
    def arm() -> None:
        disk.die()
        disk.story.on(moment, partial(send, number))

    disk.story.on("watch", arm)
    disk.run()
    assert disk.story.events.count("disconnect") == 1
    disk.assert_nothing_is_left()


def test_asked_to_end_between_two_attempts(disk: Disk) -> None:
    disk.story.on("ready", lambda: None, fail("still not"))
    disk.story.on("watch", disk.die)
    sleep = disk.clock.sleep

    def interrupted(seconds: float) -> None:
        sleep(seconds)
        if seconds == 1:
            send(END)

    disk.clock.sleep = interrupted  # type: ignore[method-assign]
    disk.run()
    disk.assert_nothing_is_left()


@pytest.mark.parametrize("moment", ["fence", "ready"])
def test_detached_by_somebody_else_while_nbdkit_is_started_again(disk: Disk, moment: str) -> None:
    disk.fence_asks = 2

    def arm() -> None:
        disk.die()
        gone = (disk.kernel.sys / NBD0 / "backend").unlink
        disk.story.on(
            moment,
            *([gone] if moment == "fence" else [lambda: [act() for act in (gone, fail("no"))]]),
        )

    disk.story.on("watch", arm)
    disk.run()
    assert "reconfigure" not in disk.story.events
    assert disk.state.entries() == []


def test_a_second_signal_does_not_break_into_the_detaching(disk: Disk) -> None:
    """Only what is to be waited for ends, if that is what it says."""
    disk.story.on("watch", term)
    disk.story.on("disconnect", lambda: [act() for act in (term, interrupt, disk.look)])
    disk.run()
    assert disk.seen[0]["state"] == "disconnecting"
    assert not any(event.startswith("kill") for event in disk.story.events)
    disk.assert_nothing_is_left()


def test_haste_while_it_is_being_detached(disk: Disk) -> None:
    disk.story.on("watch", term)
    disk.story.on("disconnect", now)
    disk.run()
    assert disk.story.events.count("kill 1") == 1
    disk.assert_nothing_is_left()


def test_haste_breaks_what_is_waited_for_first(disk: Disk) -> None:
    disk.story.on("watch", now)
    disk.run()
    end = disk.story.events.index("kill 1")
    assert disk.story.events[end + 1] == "disconnect"
    disk.assert_nothing_is_left()


def test_everything_hangs(disk: Disk) -> None:
    """It still ends, soon, and nbdkit with it."""
    disk.story.on("watch", term)
    disk.clock.stuck = {"flush", "<lambda>"}
    begin = disk.clock.now()
    disk.run()
    assert disk.clock.now() - begin < 15
    assert not disk.workshop.made[0].alive
    assert disk.state.entries() == []


def test_a_disk_of_a_supervisor_that_was_killed(disk: Disk) -> None:
    """The device is taken over with what is mounted on it."""
    killed = disk.claim()
    killed.attach()
    os.close(killed._claim._lock)
    disk.die()
    disk.story.events.clear()
    disk.story.on("watch", disk.look, term)
    disk.run()
    assert "connect" not in disk.story.events
    assert "reconfigure" in disk.story.events
    assert disk.seen[0]["state"] == "connected"
    assert disk.seen[0]["size"] == SIZE
    disk.assert_nothing_is_left()


def resized(disk: Disk, size: int) -> Callable[[], object]:
    """Return what has the disk change, and nbdkit say so."""

    def act() -> None:
        disk.size = size
        disk.workshop.say(size=size)

    return act


def test_a_disk_that_grows(disk: Disk) -> None:
    disk.story.on("watch", resized(disk, 2 * SIZE), disk.look, term)
    disk.run()
    assert disk.story.events.count("resize") == 1
    assert disk.kernel.device(0).size == disk.seen[0]["size"] == 2 * SIZE


def test_a_disk_that_shrinks(disk: Disk) -> None:
    """The kernel is not told: what is beyond the end fails, and that may be in use."""
    disk.story.on("watch", resized(disk, SIZE // 2), disk.look, term)
    disk.run()
    assert "resize" not in disk.story.events
    assert disk.seen[0]["size"] == SIZE


def test_a_size_that_cannot_be_passed_on(disk: Disk) -> None:
    disk.story.on("resize", fail("no"))
    disk.story.on("watch", resized(disk, 2 * SIZE), disk.look, term)
    disk.run()
    assert (disk.seen[0]["size"], disk.seen[0]["state"]) == (SIZE, "connected")
    disk.assert_nothing_is_left()


def test_a_disk_that_grows_while_nbdkit_is_started_again(disk: Disk) -> None:
    disk.story.on("watch", disk.die, disk.look, term)
    disk.story.on("fence", lambda: setattr(disk, "size", 2 * SIZE))
    disk.run()
    assert disk.kernel.device(0).size == disk.seen[0]["size"] == 2 * SIZE


def test_a_target_that_is_away_while_nbdkit_is_started_again(disk: Disk) -> None:
    """No nbdkit is started for it."""
    disk.story.on("look", lambda: None, *[fail("nobody there")] * 3)
    disk.story.on("watch", disk.die, term)
    disk.run()
    assert disk.story.events.count("look") == 5
    assert len(disk.workshop.made) == 2


def test_a_session_that_is_lost(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """Said once with the reason and the time, and no more once there is another session."""
    at = "2024-01-02T03:04:05+00:00"
    disk.story.on(
        "watch",
        partial(disk.workshop.say, state="lost", since=at, reason="closed by the target"),
        disk.look,
        partial(disk.workshop.say, state="connected", since="2024-02-02T00:00:00+00:00"),
        disk.look,
        term,
    )
    told: list[Record] = []
    run(disk.claim(), disk.records.append, told.append)
    lost, again = disk.seen
    assert (lost["state"], lost["error"], lost["state_since"]) == (
        "lost",
        "closed by the target",
        at,
    )
    assert lost["since"] == disk.records[0].since
    assert (again["state"], again["state_since"]) == ("connected", "2024-02-02T00:00:00+00:00")
    assert [record.state for record in told] == ["lost", "connected", "disconnecting"]
    assert caplog.text.count("the session is lost (closed by the target); disconnect it and") == 1
    disk.assert_nothing_is_left()


def test_a_session_that_was_lost_before_the_disk_was_usable(disk: Disk) -> None:
    disk.story.on("links", lambda: disk.workshop.say(state="lost", reason="gone"))
    disk.story.on("watch", disk.look, term)
    disk.run()
    assert [record.state for record in disk.records] == ["lost"]
    assert disk.seen[0]["state"] == "lost"


def test_nbdkit_dies_after_its_session_was_lost(disk: Disk) -> None:
    def lose_and_die() -> None:
        disk.workshop.say(state="lost", reason="gone")
        disk.die()

    disk.story.on("watch", lose_and_die, disk.look, term)
    disk.run()
    assert (disk.seen[0]["state"], disk.seen[0]["error"]) == ("connected", "it fell")


def test_the_fast_path_is_what_nbdkit_says(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter; without one, why there is none."""
    monkeypatch.setattr(supervisor, "find_filter", lambda _how: (Path("/filter.so"), ""))
    why = "over RDMA requests go through Python"
    disk.story.on("links", lambda: disk.workshop.say(fast_path=False, fast_path_reason=why))
    disk.story.on("watch", term)
    disk.run()
    [record] = disk.records
    assert (record.fast_path, record.fast_path_reason) == (False, why)


def test_the_fast_path_that_is_off(disk: Disk) -> None:
    why = "nbdkit runs without the vof filter"
    disk.story.on("links", lambda: disk.workshop.say(fast_path=False, fast_path_reason=why))
    disk.story.on("watch", term)
    disk.run()
    assert disk.records[0].fast_path_reason == "filter=off"
