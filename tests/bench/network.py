# SPDX-License-Identifier: BSD-3-Clause
"""A network of its own for a measurement, where TCP's congestion control can be chosen.

Loopback is all that the sides use, and the choice must not reach the rest of the machine. It is the
bulk rows that want it: BBR paces what it sends and probes for bandwidth, so that on loopback a run
of a few seconds may come out at half of the one before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.processes import Unavailable, last_line

CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")

_SHELL = """\
ip link set lo up && printf %s "$1" > "$2" && shift 2 && exec "$@"
"""


def congestion_control() -> str:
    """Return what TCP uses here."""
    try:
        return CONTROL.read_text("ascii").strip()
    except OSError:
        return "unknown"


def enter(control: str, arguments: Sequence[str]) -> None:
    """Become the same program in such a network, unless TCP is as wanted already.

    Raises Unavailable where that is not possible.
    """
    if congestion_control() == control:
        return
    inside = ["unshare", "--net", "--", "sh", "-c", _SHELL, "sh", control, str(CONTROL)]
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise Unavailable(f"--tcp {control}: there is no `{program}` here")
    tried = subprocess.run([*inside, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        raise Unavailable(
            f"--tcp {control}: {last_line(tried.stderr)}; it needs root, and a name in "
            "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
        )
    os.execvp(inside[0], [*inside, sys.executable, "-m", "tests.bench.bench", *arguments])
