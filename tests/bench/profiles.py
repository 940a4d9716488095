# SPDX-License-Identifier: BSD-3-Clause
"""Where the Python of both ends spends its time, function by function.

Counts a thread's own CPU time: not what it waits, nor what others do meanwhile. A profiler costs,
so what it says is shares and how often each function is called for a request; what a request really
takes is measured without.
`python -m tests.bench.profiles CONFIG FILE` is a `vof-target` whose RDMA connections are profiled:
at its end it writes what it found.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from vof.drivers.block import BlockDriver, Request

CALLS = 14
"""Functions that are told, those that take most first."""


class Entry(NamedTuple):
    """One function."""

    name: str
    calls: float
    """How often it is called for a request."""
    microseconds: float
    """In it for a request, what it calls not included."""


def entries(stats: pstats.Stats, requests: int) -> list[Entry]:
    """Return the functions that take most."""
    found: Any = stats.stats  # type: ignore[attr-defined]
    each = [
        Entry(_name(where), calls / requests, own / requests * 1e6)
        for where, (_primitive, calls, own, _cumulative, _callers) in found.items()
    ]
    return sorted(each, key=lambda entry: -entry.microseconds)[:CALLS]


def initiator(driver: BlockDriver, write: bool, depth: int, seconds: float) -> tuple[int, Any]:
    """Make requests of 4 KiB in this thread, under a profiler; how many, and what it found."""
    profile = cProfile.Profile(time.thread_time)
    count = profile.runcall(_load, driver, write, depth, seconds)
    return count, pstats.Stats(profile)


def _load(driver: BlockDriver, write: bool, depth: int, seconds: float) -> int:
    start = driver.start_write if write else driver.start_read
    buffers = [memoryview(bytearray(4096)) for _ in range(depth)]
    flying: deque[Request] = deque()
    count = 0
    end = time.monotonic() + seconds
    while flying or time.monotonic() < end:
        while len(flying) < depth and time.monotonic() < end:
            request = start(count % 4096 * 4096, buffers[count % depth], wait=True)
            assert request is not None
            flying.append(request)
            count += 1
        if flying:
            driver.finish(flying.popleft())
    return count


def _name(where: tuple[str, int, str]) -> str:
    path, _line, name = where
    return f"{Path(path).stem}.{name}" if path != "~" else name.strip("<>")


def main() -> None:
    from vof.target import cli
    from vof.target.rdma.connection import KeyedConnection

    config, result = sys.argv[1:]
    total = pstats.Stats()
    requests = 0
    run = KeyedConnection.run

    def profiled(self: KeyedConnection, *arguments: Any) -> None:
        nonlocal requests
        profile = cProfile.Profile(time.thread_time)
        profile.runcall(run, self, *arguments)
        if not self.is_control:
            total.add(profile)
            requests += self._sends.operations.receives
        found = [entry._asdict() for entry in entries(total, max(requests, 1))]
        Path(result).write_text(json.dumps({"requests": requests, "entries": found}))

    setattr(KeyedConnection, "run", profiled)  # noqa: B010 - a type of its own, mypy says
    sys.exit(cli.main([config]))


if __name__ == "__main__":
    main()
