# SPDX-License-Identifier: BSD-3-Clause
"""Machines that are not there: files in a folder, and programs that answer as told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vof import __version__
from vof.gateways.diagnosis.host import Host, Ran

RELEASE = "6.1.0-made-up"

GONE = Ran(None, "", "No such file or directory")

WHOLE = {
    "nbdkit --dump-config": Ran(0, "name=nbdkit\nversion=1.32.5\n", ""),
    "nbdkit python --version": Ran(0, "python 1.32.5\n", ""),
    "nbdkit python vof_plugin.py --dump-plugin": Ran(0, f"vof_version={__version__}\n", ""),
    "fusermount3 --version": Ran(0, "fusermount3 version: 3.14.0\n", ""),
}
"""Programs where nothing is missing."""


def machine(
    root: Path,
    files: Mapping[str, str] | None = None,
    programs: Mapping[str, Ran] | None = None,
    *,
    is_root: bool = True,
) -> Host:
    """Return a machine whose programs are ``programs``, called by the last part of a path."""
    for name, text in (files or {}).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known = WHOLE if programs is None else programs

    def run(command: Sequence[str | Path]) -> Ran:
        words = (word.name if isinstance(word, Path) else word for word in command)
        return known.get(" ".join(words), GONE)

    return Host(root, RELEASE, is_root, run)


SOUND = {
    "/sys/module/nbd/refcnt": "0",
    "/sys/block/nbd0/size": "0",
    "/sys/block/nbd1/size": "0",
    "/dev/fuse": "",
    "/etc/fuse.conf": "user_allow_other\n",
    "/sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n",
    "/dev/infiniband/rdma_cm": "",
}
"""Files where nothing is missing."""
