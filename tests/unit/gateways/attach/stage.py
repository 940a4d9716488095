# SPDX-License-Identifier: BSD-3-Clause
"""Stand-ins for what a supervisor works with: time, nbdkit, the kernel's devices."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vof.errors import ConfigError, VofError
from vof.gateways.attach.clock import Clock
from vof.gateways.attach.fence import Fence
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.nbd.handshake import Connection
from vof.gateways.attach.nbd.nbdkit import CommandLine, Nbdkit
from vof.gateways.attach.plan import Plan
from vof.gateways.sessions.status import SessionStatus
from vof.gateways.settings import effective
from vof.gateways.settings.keys import DEFAULT_TIMEOUT
from vof.gateways.settings.merged import load

SIZE = 1 << 20
TVQN = "virtio-target/block/disk0.service"
IDENTIFIER = "vof:disk0:serial"

STATUS = SessionStatus("connected", "2024-01-01T00:00:00+00:00", SIZE, fast_path=True)


def plan(**options: str) -> Plan:
    """Return the plan of a disk with two connections."""
    options = {"connections": "2", "filter": "off"} | options
    return Plan.of(effective.device(load(), TVQN, options, {"timeout": DEFAULT_TIMEOUT}), None)


class StandingClock(Clock):
    """Time passes only where somebody waits."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []
        self.stuck: set[str] = set()
        """Names of functions that do not come to an end."""

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def done_within(self, act: Callable[[], object], seconds: float) -> bool:
        if act.__name__ in self.stuck:
            self.time += seconds
            return False
        act()
        return True


def send(number: signal.Signals) -> None:
    """Have this thread, which is to be the process's main one, take the signal now: none that an
    earlier test has left, and which holds no signal back, may."""
    signal.raise_signal(number)


class Story:
    """What came to pass, in order, and what is to happen at some of it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.at: dict[str, list[Callable[[], object]]] = {}

    def note(self, event: str) -> None:
        """Note it, and do the next of what is to be done at it."""
        self.events.append(event)
        if waiting := self.at.get(event):
            waiting.pop(0)()

    def on(self, event: str, *acts: Callable[[], object]) -> None:
        """Do the first when ``event`` comes to pass for the first time, and so on."""
        self.at[event] = list(acts)


def fail(words: str) -> Callable[[], object]:
    """Return what raises a VofError."""

    def act() -> None:
        raise VofError(words)

    return act


class FakeNbdkit(Nbdkit):
    """One that runs until `die`, or somebody ends it."""

    def __init__(self, story: Story, number: int) -> None:
        self.story = story
        self.number = number
        self.alive = True
        self.said = STATUS
        """What its plugin says."""
        self.socket = Path("/nowhere")

    @property
    def pid(self) -> int:
        return self.number

    def wait_until_ready(self, timeout: float) -> None:
        self.story.note("ready")

    def ends_within(self, seconds: float) -> bool:
        self.story.note("watch")
        self.hear()
        return not self.alive

    def hear(self) -> None:
        self.status = self.said

    def last_words(self) -> str:
        return "it fell"

    def kill(self) -> None:
        self.story.events.append(f"kill {self.number}")
        self.alive = False

    def end(self) -> None:
        self.story.events.append(f"end {self.number}")
        self.alive = False


class Workshop:
    """Makes nbdkits."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.made: list[FakeNbdkit] = []

    def __call__(
        self, _command: CommandLine, _folder: Path, tell: Callable[[str], None]
    ) -> FakeNbdkit:
        self.story.note("start")
        self.made.append(FakeNbdkit(self.story, len(self.made) + 1))
        return self.made[-1]

    def say(self, **changes: Any) -> None:
        """The last one's plugin says something of its session from now on."""
        self.made[-1].said = replace(self.made[-1].said, **changes)

    def die(self) -> None:
        """The last one ends by itself."""
        self.made[-1].alive = False


class FakeFence(Fence):
    """Passed when the story says so: at once, or after being asked so often."""

    def __init__(self, story: Story, clock: StandingClock, asks: int, reason: str) -> None:
        self.story, self.clock, self.asks, self.reason = story, clock, asks, reason

    def passed_within(self, seconds: float) -> bool:
        self.story.note("fence")
        if self.asks:
            self.asks -= 1
            self.clock.time += seconds
        return not self.asks

    def drop(self, reason: str = "") -> None:
        self.story.events.append("drop")
        self.asks = 0
        self.reason = reason or self.reason


class FakeNetlink:
    """The driver, on a picture of /sys that it paints itself. One device, nbd0."""

    def __init__(self, kernel: Kernel, story: Story) -> None:
        self.kernel = kernel
        self.story = story
        self.missing = False
        self.receivers = 2
        """How many there will be."""

    def __call__(self) -> FakeNetlink:
        if self.missing:
            raise ConfigError("this kernel has no nbd driver")
        return self

    def __enter__(self) -> FakeNetlink:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def close(self) -> None: ...

    @property
    def folder(self) -> Path:
        return self.kernel.sys / "block/nbd0"

    def connect(self, index: int | None, **what: object) -> int:
        self.story.note("connect")
        self._resize(what["size"])
        (self.folder / "pid").write_text("77\n")
        (self.folder / "backend").write_text(f"{what['identifier']}\n")
        self.listen(self.receivers)
        self.story.note("connected")
        return 0

    def reconfigure(self, index: int, **what: object) -> None:
        self.story.note("reconfigure")
        self._resize(what["size"])
        self.listen(self.receivers)

    def resize(self, index: int, size: int, identifier: str) -> None:
        self.story.note("resize")
        self._resize(size)

    def _resize(self, size: object) -> None:
        assert isinstance(size, int)
        (self.folder / "size").write_text(f"{size // 512}\n")

    def disconnect(self, index: int) -> None:
        self.story.note("disconnect")
        self.listen(0)
        (self.folder / "pid").unlink(missing_ok=True)
        (self.folder / "backend").unlink(missing_ok=True)

    def listen(self, count: int) -> None:
        """Have so many threads receive."""
        for path in self.kernel.proc.glob("[0-9]*/comm"):
            path.unlink()
        for number in range(count):
            folder = self.kernel.proc / str(100 + number)
            folder.mkdir(exist_ok=True)
            (folder / "comm").write_text("kworker/u4:1+nbd0-recv\n")


def paint(folder: Path) -> Kernel:
    """Return a kernel with nbd0, which is free."""
    block = folder / "sys/block/nbd0"
    (block / "holders").mkdir(parents=True)
    (block / "dev").write_text("43:0\n")
    (block / "size").write_text("0\n")
    (block / "uevent").touch()
    (folder / "proc/self").mkdir(parents=True)
    (folder / "dev").mkdir()
    (folder / "dev/nbd0").write_bytes(bytes(4096))
    return Kernel(folder / "sys", folder / "dev", folder / "proc")


class Handshakes:
    """Connections to an nbdkit."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def __call__(self, *_where: object) -> Connection:
        ours, its = socket.socketpair()
        its.close()
        self.sockets.append(ours)
        return Connection(ours, 1 << 62, 0)

    @property
    def all_closed(self) -> bool:
        return all(each.fileno() < 0 for each in self.sockets)
