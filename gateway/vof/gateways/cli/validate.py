# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl validate``: tells all that is wrong with the configuration, with file and line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_json
from vof.gateways.settings.files import default_folder
from vof.gateways.settings.merged import Problem, Settings, load, load_files


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="look at these instead of this machine's configuration",
    )
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Tell what is wrong."""
    settings = load_files(map(Path, given.files)) if given.files else load()
    if wants_json(given):
        write_json(
            {
                "valid": not settings.problems,
                "files": [str(path) for path in settings.files],
                "devices": settings.devices,
                "mounts": settings.mounts,
                "problems": [_as_json(problem) for problem in settings.problems],
            }
        )
    else:
        sys.stdout.write(_text(settings))
    return Exit.USAGE if settings.problems else Exit.DONE


def _as_json(problem: Problem) -> dict[str, object]:
    origin = problem.origin
    return {
        "file": str(origin.path) if origin else None,
        "line": origin.line if origin else None,
        "text": problem.text,
    }


def _text(settings: Settings) -> str:
    if settings.problems:
        return "".join(f"{problem.text}\n" for problem in settings.problems)
    if not settings.files:
        return f"nothing is configured in {default_folder()}\n"
    counts = (
        _count(len(settings.files), "file"),
        _count(len(settings.devices), "device"),
        _count(len(settings.mounts), "mount"),
    )
    return f"{', '.join(counts)}: nothing is wrong\n"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
