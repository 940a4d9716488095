# SPDX-License-Identifier: BSD-3-Clause
"""The third part of the demonstration: one device over TCP, in each revision of the protocol.

Every dialect writes a part of a disk, and then each reads all of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from demo_stage import DemoError, console, run, show, step

DIALECTS = ("proposal", "v2", "v5", "auto")
PART = 1 << 20


def show_dialects(work: Path, port: int, export: tuple[str, ...]) -> None:
    """Write and read a disk in all dialects; ``export`` are nbdkit's arguments for it."""
    step("The same device in each dialect of the protocol, over TCP")

    def nbdkit(dialect: str, start: int, length: int, command: str) -> str:
        window = (f"offset={start}", f"range={length}")
        reached = (*export, f"tport={port}", f"dialect={dialect}")
        words = ("nbdkit", "-U", "-", "--filter=offset", *reached, *window, "--run", command)
        return run(*words, quiet=True).strip()

    whole = b""
    for dialect in DIALECTS:
        part = work / f"{dialect}.part"
        part.write_bytes(os.urandom(PART))
        nbdkit(dialect, len(whole), PART, f'nbdcopy {part} "$uri"')
        whole += part.read_bytes()
    show(["nbdkit", "--filter=offset", *export, "dialect=…", "offset=…", "--run", "nbdcopy …"])
    written = hashlib.sha256(whole).hexdigest()
    show([], f"written   {written}")
    for dialect in DIALECTS:
        found = nbdkit(dialect, 0, len(whole), 'nbdcopy "$uri" - | sha256sum').split()[0]
        show([], f"{dialect:9} {found}")
        if found != written:
            raise DemoError(f"dialect {dialect} reads something else than was written")
    console.print("  [green]What each of them wrote, all of them read.[/]")
