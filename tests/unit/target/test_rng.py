# SPDX-License-Identifier: BSD-3-Clause
"""The entropy device without a network: sources, the rate limit and the waiting, on a clock that
only moves when someone waits.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.asking import StoppedClock
from vof.errors import ConfigError, RemoteProtocolError
from vof.target.backends.rng_file import FileOptions
from vof.target.backends.rng_interface import RngSource, RngStream
from vof.target.backends.rng_random import RandomSource
from vof.target.backends.rng_simulator import SimulatorSource
from vof.target.clock import Clock
from vof.target.devices.device import Cancelled, DeviceFailure, DeviceInstance, Outcome, Request
from vof.target.devices.rng import RngDevice, RngDeviceOptions, RngInstance
from vof.target.devices.rng_pace import PATIENCE, RateLimit

NOTHING = memoryview(b"")


class Scripted(RngSource):
    """Gives as many bytes at a time as it was told, or raises."""

    def __init__(self, *script: int | OSError) -> None:
        self.script = list(script)

    def stream(self) -> RngStream:
        return self

    def read(self, buffer: memoryview) -> int:
        step = self.script.pop(0) if self.script else 0
        if isinstance(step, OSError):
            raise step
        count = min(step, len(buffer))
        buffer[:count] = b"r" * count
        return count


def device(source: RngSource, clock: Clock, amount: int = 0, period: int = 1000) -> RngDevice:
    return RngDevice("rng", 0, RngDeviceOptions(amount, period), source, clock)


class Asked:
    """A request, and what has become of it."""

    def __init__(self, instance: DeviceInstance, size: int, readable: bytes = b"") -> None:
        self.instance = instance
        self.outcomes: list[Outcome] = []
        room = memoryview(bytearray(b"\xee" * size))
        self.request = Request(0, memoryview(readable), room)
        instance.submit(self.request, self.outcomes.append)

    def cancel(self) -> None:
        self.instance.cancel(self.request)

    @property
    def is_cancelled(self) -> bool:
        [outcome] = self.outcomes
        return isinstance(outcome, Cancelled)

    def data(self) -> bytes:
        [outcome] = self.outcomes
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome > 0
        return bytes(self.request.writable[:outcome])


def ask(instance: DeviceInstance, size: int) -> bytes:
    """Return the bytes of a request, however long they take."""
    assert isinstance(instance, RngInstance)
    clock = instance._device.pace._clock
    assert isinstance(clock, StoppedClock)
    asked = Asked(instance, size)
    while not asked.outcomes:
        clock.go_on()
    return asked.data()


# Sources.


def test_getrandom() -> None:
    instance = device(RandomSource(), StoppedClock()).new_instance()
    answers = {ask(instance, 64) for _ in range(50)}
    assert len(answers) == 50
    assert {len(answer) for answer in answers} == {64}
    assert len(ask(instance, 1 << 20)) == 1 << 20


def test_getrandom_early_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def getrandom(size: int, flags: int) -> bytes:
        assert flags == os.GRND_NONBLOCK
        calls.append(size)
        if len(calls) < 4:
            raise BlockingIOError
        return b"x" * size

    clock = StoppedClock()
    monkeypatch.setattr(os, "getrandom", getrandom)
    assert ask(device(RandomSource(), clock).new_instance(), 9) == b"x" * 9
    assert clock.waited == [0.001, 0.002, 0.004]


def test_the_alphabet_goes_on_for_each_association() -> None:
    one_device = device(SimulatorSource(), StoppedClock())
    one, other = one_device.new_instance(), one_device.new_instance()
    assert ask(one, 30) == b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCD"
    assert ask(other, 3) == b"ABC"
    assert ask(one, 3) == b"EFG"
    assert ask(one, 300)[-2:] == b"TU"
    one.reset()
    assert ask(one, 1) == b"A"


@contextmanager
def opened(path: Path) -> Iterator[RngSource]:
    source = FileOptions(str(path)).open()
    try:
        yield source
    finally:
        source.close()
        source.close()


def test_a_file_is_given_once_and_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "random"
    path.write_bytes(bytes(range(100)))
    with opened(path) as source:
        both = device(source, StoppedClock())
        one, other = both.new_instance(), both.new_instance()
        assert ask(one, 60) == bytes(range(60))
        assert ask(other, 60) == bytes(range(60, 100))
        for instance in (one, other):
            with pytest.raises(DeviceFailure, match="random has come to its end"):
                ask(instance, 1)


def test_a_character_device() -> None:
    with opened(Path("/dev/zero")) as source:
        assert ask(device(source, StoppedClock()).new_instance(), 100) == bytes(100)


def test_whether_the_path_leads_to_another_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as source:
        both = device(source, StoppedClock())
        assert both.outdated() == ""
        path.rename(tmp_path / "old")
        with pytest.raises(ConfigError, match="No such file or directory"):
            both.outdated()
        os.mkfifo(path)
        assert both.outdated() == f"{path} was replaced by another file"


def test_a_pipe_gives_what_was_written_and_waits_for_more(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    clock = StoppedClock()
    with opened(path) as source:
        instance = device(source, clock).new_instance()
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, b"some")
        assert ask(instance, 100) == b"some"
        # Nothing, with a writer and without one.
        clock.at = {5: lambda: os.close(writer), 10: lambda: path.write_bytes(b"more")}
        assert ask(instance, 100) == b"more"
    assert len(clock.waited) == 10
    assert max(clock.waited) <= 0.1


@pytest.mark.parametrize("name", ["folder", "gone", "no\0name"])
def test_what_cannot_be_a_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=r"neither|No such file|null byte"):
        FileOptions(f"{tmp_path}/{name}").open()


# Requests.


def test_no_config_space_and_no_features_but_one() -> None:
    rng = device(RandomSource(), StoppedClock())
    assert (rng.device_id, rng.num_queues, rng.queue_size, rng.features) == (4, 1, 8, 1 << 32)
    assert RngDevice("rng", 1, RngDeviceOptions(), RandomSource(), StoppedClock()).features == 0
    instance = rng.new_instance()
    assert instance.read_config() == b""
    assert not instance.write_config(0, b"\0")


@pytest.mark.parametrize(("readable", "room"), [(1, 16), (0, 0), (5, 0)])
def test_requests_that_cannot_be_answered(readable: int, room: int) -> None:
    instance = device(RandomSource(), StoppedClock()).new_instance()
    with pytest.raises(RemoteProtocolError):
        Asked(instance, room, bytes(readable)).data()


def test_a_short_read_is_a_short_answer() -> None:
    instance = device(Scripted(3, 0, 0, 5), StoppedClock()).new_instance()
    assert ask(instance, 10) == b"rrr"
    assert ask(instance, 10) == b"rrrrr"


def test_a_source_that_fails() -> None:
    instance = device(Scripted(OSError(5, "broken")), StoppedClock()).new_instance()
    with pytest.raises(DeviceFailure, match=r"^broken$"):
        ask(instance, 10)


# The rate limit.


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(1, 200), st.floats(0, 3)), max_size=40),
)
def test_never_more_than_the_limit_in_a_period(
    amount: int, requests: list[tuple[int, float]]
) -> None:
    limit, now, begin, given_ = RateLimit(amount, 1.0), 0.0, None, 0
    for wanted, pause in requests:
        now += pause
        if begin is None or now >= begin + 1.0:
            begin, given_ = now, 0
        granted = limit.grant(wanted, now)
        assert granted == min(wanted, amount - given_)
        given_ += granted
        if not granted:
            assert limit.until_next(now) == pytest.approx(begin + 1.0 - now)


def test_what_was_not_used_is_not_lost_nor_gained() -> None:
    limit = RateLimit(10, 1.0)
    assert limit.grant(8, 0.0) == 8
    limit.give_back(5)
    assert limit.grant(100, 0.5) == 7
    limit.give_back(1000)
    assert limit.grant(100, 0.5) == 10


def test_the_limit_is_one_for_all_initiators() -> None:
    clock = StoppedClock()
    rng = device(SimulatorSource(), clock, amount=100, period=500)
    one, other = rng.new_instance(), rng.new_instance()
    assert len(ask(one, 60)) == 60
    assert len(ask(other, 60)) == 40
    assert clock.waited == []
    assert len(ask(one, 60)) == 60
    assert clock.waited == [0.5]
    clock.time += 7
    assert len(ask(other, 1000)) == 100
    assert clock.waited == [0.5]


def test_short_reads_do_not_use_up_the_limit() -> None:
    clock = StoppedClock()
    instance = device(Scripted(1, 1, 0, 1, 100), clock, amount=4).new_instance()
    assert [len(ask(instance, 64)) for _ in range(4)] == [1, 1, 1, 1]
    assert clock.waited == [0.001]


def test_a_long_period_is_waited_for() -> None:
    clock = StoppedClock()
    instance = device(SimulatorSource(), clock, amount=1, period=3_600_000).new_instance()
    assert ask(instance, 5) + ask(instance, 5) == b"AB"
    assert clock.waited == [3600.0]


def test_a_source_that_lets_wait_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """And waited for all the same."""
    clock, source = StoppedClock(), Scripted()
    clock.at = {1000: lambda: source.script.append(3)}
    with caplog.at_level(logging.WARNING):
        assert ask(device(source, clock).new_instance(), 5) == b"rrr"
    assert sum(clock.waited) > 2 * PATIENCE
    (line,) = caplog.messages
    assert "source-dry" in line
    assert "tvqn=rng" in line


# Cancelling.


def rng_without_bytes_left() -> tuple[RngDevice, StoppedClock]:
    """A limited device that has given all there is in this hour."""
    clock = StoppedClock()
    rng = device(SimulatorSource(), clock, amount=1, period=3_600_000)
    assert ask(rng.new_instance(), 1) == b"A"
    return rng, clock


def test_a_request_is_cancelled_and_no_other() -> None:
    rng, clock = rng_without_bytes_left()
    one, other = rng.new_instance(), rng.new_instance()
    waiting = [Asked(instance, 8) for instance in (one, other, one, other)]
    waiting[0].cancel()
    waiting[2].cancel()
    assert waiting[0].is_cancelled
    assert waiting[2].is_cancelled
    assert not waiting[1].outcomes
    assert not waiting[3].outcomes
    clock.go_on()
    assert waiting[1].data() == b"A"
    waiting[3].cancel()
    assert waiting[3].is_cancelled
    assert not clock.waiting
    # Again, and of one that was answered.
    waiting[1].cancel()
    waiting[3].cancel()
    assert [len(each.outcomes) for each in waiting] == [1] * 4


def test_a_request_is_cancelled_while_the_source_has_nothing() -> None:
    clock = StoppedClock()
    asked = Asked(device(Scripted(), clock).new_instance(), 8)
    clock.go_on()
    asked.cancel()
    assert asked.is_cancelled
    assert not clock.waiting


@pytest.mark.parametrize("count", [0, 3])
def test_a_request_is_cancelled_while_it_is_read(count: int) -> None:
    """Then what there is is given all the same: it would be lost."""

    class Cancelling(Scripted):
        def read(self, buffer: memoryview) -> int:
            instance.cancel(request)
            return count

    instance = device(Cancelling(), StoppedClock()).new_instance()
    request, outcomes = Request(0, NOTHING, memoryview(bytearray(8))), list[Outcome]()
    instance.submit(request, outcomes.append)
    [outcome] = outcomes
    assert outcome == count or isinstance(outcome, Cancelled)


def test_the_line_keeps_its_order() -> None:
    """Each in its turn, though the first asked for everything; and no thread waits for it."""
    clock, order = StoppedClock(), list[Outcome]()
    source = Scripted()
    rng = device(source, clock, amount=1000, period=1_000_000)
    for size in (100, 3, 50, 2):
        instance, room = rng.new_instance(), memoryview(bytearray(size))
        instance.submit(Request(0, NOTHING, room), order.append)
    assert order == []
    source.script = [1000] * 4
    clock.go_on()
    assert order == [100, 3, 50, 2]


def test_on_a_clock_that_runs() -> None:
    """From several threads, with a source that has nothing now and then."""
    clock, finished = Clock(), threading.Semaphore(0)
    rng = device(Scripted(*[1, 0, 0] * 60), clock)
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        finished.release()

    def submit() -> None:
        instance = rng.new_instance()
        for _ in range(15):
            instance.submit(Request(0, NOTHING, memoryview(bytearray(4))), done)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        assert finished.acquire(timeout=10)
    for thread in threads:
        thread.join()
    clock.stop(10)
    assert outcomes == [1] * 60
