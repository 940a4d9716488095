# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl completion``: prints what makes a shell complete the command line of vofctl."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from vof.gateways.cli.completion import bash, zsh
from vof.gateways.cli.completion.tree import Verb, read
from vof.gateways.cli.exits import Exit

SHELLS: dict[str, Callable[[str, Verb], str]] = {"bash": bash.script, "zsh": zsh.script}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    parser.add_argument("shell", choices=SHELLS, help="the shell it is for")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Print the completion."""
    parser = given.arguments()
    sys.stdout.write(SHELLS[given.shell](parser.prog, read(parser)))
    return Exit.DONE
