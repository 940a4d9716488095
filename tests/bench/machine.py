# SPDX-License-Identifier: BSD-3-Clause
"""What is to be known of the machine and the programs, or numbers mean nothing."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import time
from pathlib import Path

from tests.bench.accounting import busy_and_stolen
from tests.bench.network import congestion_control

BUSY = 0.1
"""The share of all CPUs in use by others from which on numbers deserve a warning."""
LOOK_SECONDS = 1.0

_VERSIONS = {
    "nbdkit": ("nbdkit", "--version"),
    "fio": ("fio", "--version"),
    "qemu-nbd": ("qemu-nbd", "--version"),
    "tgt": ("tgtd", "--version"),
    "libiscsi": ("dpkg-query", "-W", "-f", "${Version}", "libiscsi-bin"),
}


def description() -> list[str]:
    """Return lines that say when and where this is."""
    now = dt.datetime.now(dt.UTC)
    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    return [
        f"{now:%Y-%m-%d %H:%M} UTC; {os.cpu_count()} CPUs {_cpu_model()}, {_memory()}, "
        f"{platform.machine()}",
        f"Linux {platform.release()}, TCP {congestion_control()}, Python "
        f"{platform.python_version()}; load at the start {load}",
        ", ".join(f"{name} {_version(*command)}" for name, command in _VERSIONS.items()),
    ]


def busy_warning() -> str | None:
    """Look for a moment; return a line if others use the machine."""
    busy, stolen, total = busy_and_stolen()
    time.sleep(LOOK_SECONDS)
    after = busy_and_stolen()
    share = (after[0] - busy + after[1] - stolen) / max(after[2] - total, 1e-9)
    if share < BUSY:
        return None
    return f"warning: others use {share:.0%} of the CPUs; numbers made now are rough"


def _version(*command: str) -> str:
    """Return the first thing in a program's answer that looks like a version."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "missing"
    words = (done.stdout or done.stderr).split()
    found = (word for word in words if any(c.isdigit() for c in word) and "." in word)
    return next(found, "unknown").removeprefix("fio-")


def _cpu_model() -> str:
    return _field(Path("/proc/cpuinfo"), "model name") or "of unknown model"


def _memory() -> str:
    size = _field(Path("/proc/meminfo"), "MemTotal")
    return f"{int(size.split()[0]) / (1 << 20):.0f} GiB" if size else "memory unknown"


def _field(path: Path, key: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "")
