# SPDX-License-Identifier: BSD-3-Clause
"""Whether a process waits for an answer of ours with a signal that it cannot see to before.

The kernel tells a FUSE server when a caller is interrupted, but pyfuse3 does not pass that on, and
until it is answered not even SIGKILL ends the caller. So whoever lets callers wait long looks for
itself, at the process that opened the file.
"""

from __future__ import annotations

from pathlib import Path

_PENDING = ("SigPnd", "ShdPnd")
_WITHHELD = ("SigBlk", "SigIgn")


def has_pending_signal(pid: int) -> bool:
    """Return whether a signal is pending for a process that it neither blocks nor ignores."""
    if pid <= 0:
        return False
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return False
    masks = {}
    for line in text.splitlines():
        key, _colon, value = line.partition(":")
        if key in _PENDING or key in _WITHHELD:
            masks[key] = int(value, 16)
    pending, withheld = (
        masks.get(first, 0) | masks.get(second, 0) for first, second in (_PENDING, _WITHHELD)
    )
    return bool(pending & ~withheld)
