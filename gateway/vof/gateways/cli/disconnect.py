# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl disconnect``: takes an attached disk away again, or all. Local, and soon."""

from __future__ import annotations

import argparse

from vof.errors import ConfigError
from vof.gateways.attach.clock import Deadline
from vof.gateways.attach.ending import FORCED_TIME, TIME, Ending, end, find
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.cli.attached import add_state_option, state_folder
from vof.gateways.cli.exits import Exit, exit_of
from vof.gateways.cli.output import add_output_option, tell_error, wants_json, write_json


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    parser.add_argument("disk", nargs="?", metavar="NAME|DEVICE|TVQN", help="the disk")
    parser.add_argument("--all", action="store_true", help="every disk there is")
    parser.add_argument(
        "--force", action="store_true", help="also while it is in use: what is in flight fails"
    )
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Disconnect what is named."""
    deadline = Deadline(FORCED_TIME if given.force else TIME)
    if given.all == (given.disk is not None):
        raise ConfigError("name one disk, or say --all")
    folder, kernel = state_folder(given), Kernel()
    entries = folder.entries()
    if not given.all:
        entries = [find(given.disk, entries, kernel)]
    failed = end(entries, Ending(folder, kernel, deadline), force=given.force)
    status = Exit.DONE
    for name, error in failed.items():
        if not given.all:
            raise error
        tell_error(f"{name}: {error}")
        status = exit_of(error)
    if wants_json(given):
        write_json({"disconnected": [each.name for each in entries if each.name not in failed]})
    return status
