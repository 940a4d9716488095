# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl connect-all``: attaches every disk of vof.conf, all at once: none waits for another.

A device with ``auto=no`` is left alone. Every other is taken for a disk: one that is none is told,
for a disk that was meant would be missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from vof.errors import VofError, WrongDevice
from vof.gateways.attach.launch import Launch
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.nbd.module import load_nbd
from vof.gateways.attach.plan import Plan
from vof.gateways.cli.attached import add_state_option, state_folder
from vof.gateways.cli.connect import facts_of
from vof.gateways.cli.exits import Exit, exit_of
from vof.gateways.cli.output import add_output_option, tell_error, wants_json, write_json
from vof.gateways.cli.waiting import outcomes
from vof.gateways.settings import effective
from vof.gateways.settings.keys import DEFAULT_TIMEOUT
from vof.gateways.settings.merged import Settings, load


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Connect what is not connected yet; the status is that of the last failure."""
    folder, kernel = state_folder(given), Kernel()
    there = {entry.name for entry in folder.entries() if entry.owner is not None}
    status, connected, plans = Exit.DONE, [], []
    for name, plan in _plans(load(), there):
        if isinstance(plan, VofError):
            status = _tell(name, plan)
        else:
            plans.append((name, plan))
    if plans:
        load_nbd()
    launches = {name: Launch(plan, folder, kernel) for name, plan in plans}
    for name, outcome in outcomes(launches, folder, quiet=wants_json(given)):
        if isinstance(outcome, VofError):
            status = _tell(name, outcome)
            continue
        connected.append(facts_of(outcome))
        if not wants_json(given):
            sys.stdout.write(f"{outcome.device} {name}\n")
            sys.stdout.flush()
    if wants_json(given):
        write_json({"connected": connected})
    return status


def _plans(settings: Settings, there: set[str]) -> Iterator[tuple[str, Plan | VofError]]:
    """Yield how each disk is to be attached that is to be, or why it cannot be."""
    for name in settings.devices:
        if name in there:
            continue
        try:
            values = effective.device(settings, name, built_in={"timeout": DEFAULT_TIMEOUT})
            if values.flag("auto"):
                yield name, Plan.of(values, name)
        except VofError as error:
            yield name, error


def _tell(name: str, error: VofError) -> Exit:
    """Tell why a disk is not connected; return the exit status for it."""
    text = f"{name}: {error}"
    if isinstance(error, WrongDevice):
        text += f" ([mount NAME]), and auto=no in [device {name}] leaves it out here"
    tell_error(text)
    return exit_of(error)
