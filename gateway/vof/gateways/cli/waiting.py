# SPDX-License-Identifier: BSD-3-Clause
"""Waits for supervisors that were started, and shows meanwhile how far each of them is.

A supervisor notes what it has come to in its entry of the state folder. Must not know why they were
started, nor what becomes of the disks.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vof.errors import ConfigError, VofError
from vof.gateways.attach.ending import TIME
from vof.gateways.attach.launch import Launch
from vof.gateways.attach.state import Record, StateFolder
from vof.gateways.cli.progress import Line
from vof.gateways.disk import disks_only
from vof.logline import printable
from vof.program import release, undone

_TICK = 0.1
"""Seconds between two looks at what the supervisors note."""


def outcomes(
    launches: Mapping[str, Launch], folder: StateFolder, *, quiet: bool
) -> Iterator[tuple[str, Record | VofError]]:
    """Yield what became of each, under its name, as it becomes known.

    ``quiet`` keeps the line from being drawn; while a caller has an outcome it is empty. No signal
    comes between a disk that is attached and what a caller makes of it, nor after the last one; one
    that comes before has the others undone.
    """
    waiting = {launch.fileno(): (name, launch) for name, launch in launches.items()}
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    start = time.monotonic()
    with undone(), _none_left(waiting), Line(wanted=not quiet) as line:
        while waiting:
            if line.shown:
                done = f"{len(launches) - len(waiting)} of {len(launches)}; "
                pids = {name: launch.pid for name, launch in waiting.values()}
                steps = f"{_steps(pids, folder)} ({time.monotonic() - start:.0f} s)"
                line.show(done + steps if len(launches) > 1 else steps)
            for fd, _event in poll.poll(_TICK * 1000 if line.shown else None):
                name, launch = waiting.pop(fd)
                poll.unregister(fd)
                line.clear()
                yield name, _outcome(launch)
                if waiting:
                    release()


@contextmanager
def _none_left(waiting: Mapping[int, tuple[str, Launch]]) -> Iterator[None]:
    """Have undone in the end what is still waited for."""
    try:
        yield
    finally:
        for _name, launch in waiting.values():
            launch.abandon()
        for _name, launch in waiting.values():
            launch.wait_until_undone(TIME)


def _outcome(launch: Launch) -> Record | VofError:
    try:
        with disks_only():
            return launch.outcome()
    except VofError as error:
        return error


def _steps(pids: Mapping[str, int], folder: StateFolder) -> str:
    """Return what each supervisor is at."""
    try:
        records = {entry.owner: entry.record for entry in folder.entries()}
    except ConfigError:  # told by the supervisor, which sees the same
        records = {}
    return ", ".join(f"{name}: {_step(records.get(pid))}" for name, pid in pids.items())


def _step(record: Record | None) -> str:
    """Return what comes after what a supervisor has noted last."""
    if record is None:
        return "starting"
    if record.device:
        return f"waiting until {record.device} is usable"
    if record.nbdkit:
        return "attaching"
    if record.identifier:
        return "starting nbdkit"
    return printable(f"opening a session with {record.target}")
