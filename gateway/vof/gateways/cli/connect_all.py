# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl connect-all``: every device of vof.conf, all at once, so that none waits for another."""

from __future__ import annotations

import argparse
import select
import sys

from vof.errors import VofError
from vof.gateways.attach.blockdev import Kernel
from vof.gateways.attach.launch import Launch
from vof.gateways.attach.module import load_nbd
from vof.gateways.attach.plan import DEFAULT_TIMEOUT, Plan
from vof.gateways.cli.attached import add_state_option, state_folder
from vof.gateways.cli.connect import facts_of
from vof.gateways.cli.exits import Exit, exit_of
from vof.gateways.cli.output import add_output_option, wants_json, write_json
from vof.gateways.cli.telling import tell_error
from vof.gateways.settings import effective
from vof.gateways.settings.merged import load


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Connect what is not connected yet; the status is that of the last failure."""
    settings, folder, kernel = load(), state_folder(given), Kernel()
    there = {entry.name for entry in folder.entries() if entry.owner is not None}
    status, connected, launches = Exit.DONE, [], {}
    if set(settings.devices) - there:
        load_nbd()
    for name in settings.devices:
        if name in there:
            continue
        try:
            values = effective.device(settings, name, built_in={"timeout": DEFAULT_TIMEOUT})
            launch = Launch(Plan.of(values, name), folder, kernel)
            launches[launch.fileno()] = name, launch
        except VofError as error:
            tell_error(f"{name}: {error}")
            status = exit_of(error)
    poll = select.poll()
    for fd in launches:
        poll.register(fd, select.POLLIN)
    while launches:
        for fd, _event in poll.poll():
            name, launch = launches.pop(fd)
            poll.unregister(fd)
            try:
                record = launch.outcome()
            except VofError as error:
                tell_error(f"{name}: {error}")
                status = exit_of(error)
                continue
            connected.append(facts_of(record))
            if not wants_json(given):
                sys.stdout.write(f"{record.device} {name}\n")
                sys.stdout.flush()
    if wants_json(given):
        write_json({"connected": connected})
    return status
