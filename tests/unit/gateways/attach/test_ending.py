# SPDX-License-Identifier: BSD-3-Clause
"""Detaching disks from outside, by a deadline, whatever their supervisors do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.unit.gateways.attach import stage
from tests.unit.gateways.attach.stage import IDENTIFIER, FakeNetlink, StandingClock, Story
from vof.errors import ConfigError, VofError
from vof.gateways.attach.clock import Deadline
from vof.gateways.attach.ending import FORCED_TIME, TIME, Ending, SupervisorProcess, end
from vof.gateways.attach.state import END, END_NOW, Claim, Record, StateFolder


class FakeSupervisor(SupervisorProcess):
    """One that ends some time after it was asked to, or never."""

    def __init__(self, clock: StandingClock, takes: dict[int, float], claim: Claim) -> None:
        self.clock, self.takes, self.claim = clock, takes, claim
        self.ends_at = float("inf")
        self.got: list[tuple[float, int]] = []
        self.closed = False

    def send(self, number: signal.Signals) -> None:
        self.got.append((self.clock.now(), number))
        self.ends_at = min(self.ends_at, self.clock.now() + self.takes.get(number, float("inf")))

    def ends_within(self, seconds: float) -> bool:
        if self.clock.now() + seconds < self.ends_at:
            self.clock.time += seconds
            return False
        self.clock.time = max(self.clock.time, self.ends_at)
        if self.claim._lock >= 0:
            os.close(self.claim._lock)
            self.claim._lock = -1
        return True

    def close(self) -> None:
        self.closed = True


class Place:
    """Disks that are attached, and their supervisors."""

    def __init__(self, folder: Path) -> None:
        self.clock = StandingClock()
        self.story = Story()
        self.kernel = stage.paint(folder)
        self.netlink = FakeNetlink(self.kernel, self.story)
        self.state = StateFolder(folder / "vof")
        self.takes: dict[int, float] = {}
        """Seconds to the end for each signal; none for one that is not heard."""
        self.supervisors: list[FakeSupervisor] = []
        self.claims: list[Claim] = []

    def attach(self, name: str = "disk0", identifier: str = IDENTIFIER) -> None:
        claim = self.state.claim(name, name, f"a/{name}", "here")
        claim.write(Record(name, f"a/{name}", "here", "connected", identifier=identifier))
        self.claims.append(claim)
        if identifier == IDENTIFIER:
            self.netlink.connect(0, identifier=identifier, size=stage.SIZE)

    def end(self, *, force: bool, started: float = 0.0) -> float:
        """End all; return the time that it took since the program was asked to, ``started`` seconds
        of which were gone before."""
        begin = self.clock.now()
        deadline = Deadline(FORCED_TIME if force else TIME, self.clock)
        self.clock.time += started
        ending = Ending(
            self.state,
            self.kernel,
            deadline,
            supervisor=self._supervisor,
            netlink=self.netlink,  # type: ignore[arg-type]
        )
        self.failed = end(self.state.entries(), ending, force=force)
        return self.clock.now() - begin

    def _supervisor(self, _pid: int) -> FakeSupervisor:
        claim = self.claims[len(self.supervisors)]
        self.supervisors.append(FakeSupervisor(self.clock, self.takes, claim))
        return self.supervisors[-1]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_supervisor_that_ends(place: Place) -> None:
    place.attach()
    place.takes = {END: 3.0}
    assert 3 <= place.end(force=False) <= 4
    [supervisor] = place.supervisors
    assert [number for _when, number in supervisor.got] == [END]
    assert supervisor.closed
    assert not place.failed
    assert place.state.entries() == []


@pytest.mark.parametrize("started", [0.0, 1.0])
def test_force_and_a_supervisor_that_does_not_answer(place: Place, started: float) -> None:
    """It is killed, and all is done here, within five seconds of the request."""
    place.attach()
    place.takes = {signal.SIGKILL: 0.0}
    assert place.end(force=True, started=started) <= FORCED_TIME == 5
    assert [number for _when, number in place.supervisors[0].got] == [END_NOW, signal.SIGKILL]
    assert "disconnect" in place.story.events
    assert not place.failed
    assert place.state.entries() == []


def test_force_where_nothing_ever_answers(place: Place) -> None:
    """Not the supervisor, not even when it is killed, nor the kernel."""
    place.attach()
    place.clock.stuck = {"disconnect"}
    assert place.end(force=True) <= FORCED_TIME
    assert str(place.failed["disk0"]).startswith("the kernel takes too long to detach")
    place.supervisors[0].claim.release()


def test_force_where_the_device_stays_in_use(place: Place) -> None:
    """Who has it open keeps the kernel's device, and is not waited for."""
    place.attach()
    place.takes = {END_NOW: 0.5}
    place.netlink.disconnect = lambda index: None  # type: ignore[method-assign]
    assert place.end(force=True) <= FORCED_TIME
    assert not place.failed


def test_all_are_asked_before_any_is_waited_for(place: Place) -> None:
    place.attach()
    for number in range(1, 6):
        place.attach(f"disk{number}", f"vof:disk{number}:serial")
    place.takes = {signal.SIGKILL: 0.0}
    assert place.end(force=True) <= FORCED_TIME
    assert len({each.got[0] for each in place.supervisors}) == 1
    assert len(place.supervisors) == 6
    assert not place.failed
    assert place.state.entries() == []


def test_one_in_use_does_not_keep_the_others(place: Place) -> None:
    place.attach()
    place.attach("other", "vof:other:serial")
    (place.kernel.proc / "self/mountinfo").write_text("30 22 43:0 / /mnt rw - ext4 /dev/nbd0 rw\n")
    place.takes = {END: 0.0}
    del place.claims[0]
    place.end(force=False)
    assert isinstance(place.failed["disk0"], ConfigError)
    assert "mounted on /mnt" in str(place.failed["disk0"])
    assert [entry.name for entry in place.state.entries()] == ["disk0"]


def test_nobody_else_is_signalled(place: Place) -> None:
    """The supervisor ended meanwhile, and its number may be another's."""
    place.attach()
    entries = place.state.entries()
    os.close(place.claims[0]._lock)
    ending = Ending(
        place.state,
        place.kernel,
        Deadline(TIME, place.clock),
        supervisor=place._supervisor,
        netlink=place.netlink,  # type: ignore[arg-type]
    )
    assert end(entries, ending, force=True) == {}
    assert place.supervisors[0].got == []
    assert place.supervisors[0].closed
    assert place.state.entries() == []


def test_somebody_elses_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(FakeSupervisor, "send", refuse)
    place.attach()
    place.end(force=True)
    assert "belongs to another user; it takes root" in str(place.failed["disk0"])
    assert isinstance(place.failed["disk0"], VofError)
    place.claims[0].release()
