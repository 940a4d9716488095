# SPDX-License-Identifier: BSD-3-Clause
"""What the programs of a side cost: CPU time and memory, as /proc has them.

A program is its process and all the processes it started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench.processes import Unavailable

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user and system time that programs have used so far."""
    return sum(_ticks(each) for pid in pids for each in _family(pid)) / _TICKS


def peak_memory(pid: int) -> int:
    """Return the most memory a program has ever had resident, in bytes."""
    return sum(_status(each, "VmHWM") for each in _family(pid))


def private_memory(pid: int) -> int:
    """Return what a program has resident now and shares with no file, in bytes."""
    return sum(_status(each, "RssAnon") for each in _family(pid))


def busy_and_stolen() -> tuple[float, float, float]:
    """Return seconds of all CPUs since the machine started: in use, taken by its host, in all."""
    first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, first.split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy / _TICKS, steal / _TICKS, (busy + idle + iowait + steal) / _TICKS


def _ticks(pid: int) -> int:
    # The second field is a name in parentheses and may hold anything; fields 14 and 15 are meant.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _status(pid: int, key: str) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise Unavailable(f"this kernel does not tell {key} of a process")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may end while we look.
        with contextlib.suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                yield from _family(int(child))


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Unavailable(f"process {pid} has ended ({error.strerror})") from error
