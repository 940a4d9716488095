# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl filter``: nbdkit's fast path, made for the nbdkit of this machine."""

from __future__ import annotations

import argparse
import sys

from vof.gateways.cli.exits import Exit
from vof.gateways.nbdkit_filter import filter_path, install_filter


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Give the group its verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    text = "print the filter's path for nbdkit --filter=, building it if need be"
    verb = verbs.add_parser("path", help=text, description=text, allow_abbrev=False)
    verb.set_defaults(run=run_path)
    text = "put the filter where nbdkit finds it as --filter=vof"
    verb = verbs.add_parser("install", help=text, description=text, allow_abbrev=False)
    verb.set_defaults(run=run_install)


def run_path(_arguments: argparse.Namespace) -> Exit:
    sys.stdout.write(f"{filter_path()}\n")
    return Exit.DONE


def run_install(_arguments: argparse.Namespace) -> Exit:
    sys.stdout.write(f"{install_filter()}\n")
    return Exit.DONE
