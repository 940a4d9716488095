# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl filter``: makes nbdkit's fast path for the nbdkit of this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vof.gateways.attach.nbd.filter_build import filter_path, install_filter
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_json


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Give the group its verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    text = "print the filter's path for nbdkit --filter=, building it if need be"
    verb = verbs.add_parser("path", help=text, description=text, epilog=parser.epilog)
    verb.set_defaults(run=run_path)
    add_output_option(verb)
    text = "put the filter where nbdkit finds it as --filter=vof"
    verb = verbs.add_parser("install", help=text, description=text, epilog=parser.epilog)
    verb.set_defaults(run=run_install)
    add_output_option(verb)


def run_path(given: argparse.Namespace) -> Exit:
    """Tell where the filter is, having built it if need be."""
    return _tell(given, filter_path())


def run_install(given: argparse.Namespace) -> Exit:
    """Put it where nbdkit looks, and tell where that is."""
    return _tell(given, install_filter())


def _tell(given: argparse.Namespace, path: Path) -> Exit:
    if wants_json(given):
        write_json({"path": str(path)})
    else:
        sys.stdout.write(f"{path}\n")
    return Exit.DONE
