# SPDX-License-Identifier: BSD-3-Clause
"""The programs, by name: what their scripts call, and ``python -m vof PROGRAM [ARGUMENT...]``.

Each is loaded once its streams and signals are what ``program`` makes them.
"""

from __future__ import annotations

import sys

from vof.program import run


def vofctl() -> int:
    """Be vofctl(8)."""

    def main() -> int:
        from vof.gateways.cli.main import main  # noqa: PLC0415

        return main()

    return run("vofctl", main)


def vof_mount() -> int:
    """Be vof-mount(1)."""

    def main() -> int:
        from vof.gateways.fuse.cli import main  # noqa: PLC0415

        return main()

    return run("vof-mount", main)


def vof_target() -> int:
    """Be vof-target(8)."""

    def main() -> int:
        from vof.target.cli import main  # noqa: PLC0415

        return main()

    return run("vof-target", main)


PROGRAMS = {"vofctl": vofctl, "vof-mount": vof_mount, "vof-target": vof_target}


if __name__ == "__main__":
    del sys.argv[0]
    if not sys.argv or sys.argv[0] not in PROGRAMS:
        sys.exit(f"usage: python -m vof {'|'.join(PROGRAMS)} [ARGUMENT...]")
    sys.exit(PROGRAMS[sys.argv[0]]())
