# SPDX-License-Identifier: BSD-3-Clause
"""Makes this process fit to be waited for by the kernel's block device.

When memory runs short the kernel writes dirty pages to free some, to our disk as well. If we then
had to wait for memory, or for a page of ours to be read back, neither would ever come.
"""

from __future__ import annotations

import os
from pathlib import Path

from vof.errors import ConfigError

_OOM = Path("/proc/self/oom_score_adj")
_NEVER = "-1000"


def enter_block_path() -> None:
    """Lock the memory of this process, have it and its threads to be get more without waiting for
    I/O (PR_SET_IO_FLUSHER), and keep it from being killed where memory runs short.

    If it is to end with its parent it ends at once then: nbdkit -f asks for SIGTERM, upon which it
    waits for its connections, and those of the kernel do not end by themselves.

    To be called in the process's first thread. Raises ConfigError where a privilege lacks.
    """
    try:
        from vof.gateways import process  # noqa: PLC0415 - compiled, may be missing
    except ImportError:
        raise ConfigError("block_path=yes takes vof's compiled parts, which are missing") from None
    for what, capability, act in (
        ("set PR_SET_PDEATHSIG", "no capability", process.die_at_once_with_parent),
        ("lock memory", "CAP_IPC_LOCK", process.lock_memory),
        ("set PR_SET_IO_FLUSHER", "CAP_SYS_RESOURCE", process.become_io_flusher),
        ("write oom_score_adj", "CAP_SYS_RESOURCE", lambda: _OOM.write_text(_NEVER)),
    ):
        try:
            act()
        except OSError as error:
            raise ConfigError(
                f"block_path=yes: cannot {what}: {error.strerror}; process {os.getpid()} needs "
                f"{capability}",
                errno=error.errno,
            ) from None
