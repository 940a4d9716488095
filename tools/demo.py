# SPDX-License-Identifier: BSD-3-Clause
"""The demonstration: remote devices in use on this machine, and nothing left of them afterwards.

Run by `make demo`. Owns the arguments, how it ends, and the look at what it might have left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from vof.program import run, undone


def leftovers(folder: Path) -> list[str]:
    """Return what of the demonstration still exists: mounts, loop devices, processes, files."""
    name = str(folder)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    found = [f"mount {place}" for place in mounts if place.startswith(name)]
    found += [
        f"loop device {backing.parts[3]}"
        for backing in Path("/sys/block").glob("loop*/loop/backing_file")
        if backing.read_text().startswith(name)
    ]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name.encode() in command.read_bytes():
                found.append(f"process {command.parts[2]}")
    return found + ([name] if folder.exists() else [])


def main() -> int:
    # All that takes long to load, once an interrupt is no traceback any more.
    from demo_disk import demonstrate  # noqa: PLC0415
    from demo_stage import DemoError, console  # noqa: PLC0415

    parser = argparse.ArgumentParser(description="Show a remote disk in use on this machine.")
    parser.add_argument(
        "--tree", type=Path, metavar="DIR", help="copy the files of DIR, however few they are"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        console.print("demo: mounting a file system needs root; run it with sudo", style="red")
        return 1
    console.print("[bold]vof: a remote disk on a stock kernel[/]")
    try:
        with undone(), tempfile.TemporaryDirectory(prefix="vof-demo-") as folder:
            demonstrate(Path(folder), options.tree)
        if left := leftovers(Path(folder)):
            raise DemoError(f"left behind: {', '.join(left)}")
    except DemoError as error:
        console.print(f"\ndemo: {error}", style="red", markup=False)
        return 1
    console.print("[dim]  Nothing is left behind: no process, mount, loop device or file.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(run("demo", main))
