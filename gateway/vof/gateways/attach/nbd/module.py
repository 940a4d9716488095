# SPDX-License-Identifier: BSD-3-Clause
"""Loads the kernel's nbd module, where that has not happened yet."""

from __future__ import annotations

import subprocess
from pathlib import Path

_MODULE = Path("/sys/module/nbd")
_TIMEOUT = 30


def load_nbd() -> None:
    """Load the module if it is not there. Whether it is, whoever uses it finds out."""
    if _MODULE.exists():
        return
    try:
        subprocess.run(
            ["modprobe", "nbd"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
