# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl connect``: attaches a remote disk as a block device of this machine.

Owns the verb's options, and what is shown of a plan that is not carried out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.gateways.attach.launch import Launch, run_in_foreground
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.nbd.module import load_nbd
from vof.gateways.attach.nbd.nbdkit import command_line, find_filter
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.state import DEFAULT_FOLDER, Record, StateFolder
from vof.gateways.cli.attached import add_state_option, state_folder
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_facts, write_json
from vof.gateways.cli.target_options import add_target_argument, target_settings
from vof.gateways.cli.waiting import outcomes
from vof.gateways.control_string import is_control_string, parse_control_string
from vof.gateways.disk import disks_only
from vof.gateways.settings.local_name import check_device_name
from vof.gateways.settings.schema import DEVICE_KEYS

_OPTIONS = ("device", "queues", "connections", "filter", "restart")
"""Options that are keys of vof.conf, too."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_target_argument(parser)
    parser.add_argument("--name", help="name of the disk here (default: made of the tvqn)")
    for key in _OPTIONS:
        parser.add_argument(f"--{key}", metavar=key.upper(), help=DEVICE_KEYS[key].text)
    parser.add_argument("--readonly", action="store_true", help="attach it read-only")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be run, and do nothing"
    )
    parser.add_argument(
        "--foreground", action="store_true", help="stay, and detach the disk at the end: a service"
    )
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Connect a disk; return when it is usable."""
    plan = _plan(given)
    if given.dry_run:
        _show(plan, given)
        return Exit.DONE
    folder, kernel = state_folder(given), Kernel()
    load_nbd()
    if given.foreground:
        with disks_only():
            run_in_foreground(plan, folder, kernel)
        return Exit.DONE
    record = _connected(plan, folder, kernel, quiet=wants_json(given))
    if wants_json(given):
        write_json(facts_of(record))
    else:
        sys.stdout.write(f"{record.device}\n")
    return Exit.DONE


def _connected(plan: Plan, folder: StateFolder, kernel: Kernel, *, quiet: bool) -> Record:
    """Have the disk connected, and show how far that is."""
    launch = Launch(plan, folder, kernel)
    [(_name, outcome)] = outcomes({plan.name or plan.default_name: launch}, folder, quiet=quiet)
    if isinstance(outcome, VofError):
        raise outcome
    return outcome


def facts_of(record: Record) -> dict[str, object]:
    """Return what is told of a disk that was connected."""
    return {
        "name": record.name,
        "device": record.device,
        "size": record.size,
        "tvqn": record.tvqn,
        "target": record.target,
        "read_only": record.read_only,
        "identifier": record.identifier,
    }


def _plan(given: argparse.Namespace) -> Plan:
    name = given.name
    if given.target and is_control_string(given.target):
        control = parse_control_string(given.target)
        if control.command != "create":
            raise ConfigError(
                f"command={control.command}: `vofctl disconnect {control.values['tvqn']}` does it"
            )
        given.target = None
        name = name or control.name
        for key, text in control.values.items():
            if getattr(given, key) is None:
                setattr(given, key, text)
    if name is not None:
        check_device_name(name)
    options = {key: getattr(given, key) for key in _OPTIONS}
    options["readonly"] = "yes" if given.readonly else None
    return Plan.of(target_settings(given, **options), name)


def _show(plan: Plan, given: argparse.Namespace) -> None:
    """Write what would be run."""
    name = plan.name or plan.default_name
    folder = (given.state_dir or DEFAULT_FOLDER) / "devices" / name
    arguments = command_line(plan, Path(folder), find_filter(plan.fast_path)[0]).arguments
    device = "any" if plan.index is None else f"/dev/nbd{plan.index}"
    facts: dict[str, object] = {
        "name": name,
        "device": device,
        "connections": plan.connections,
        "kernel_timeout": plan.kernel_timeout,
        "dead_connection_timeout": plan.dead_timeout,
    }
    if wants_json(given):
        write_json({"nbdkit": arguments, **facts, "settings": plan.settings})
    else:
        write_facts([("nbdkit", shlex.join(arguments)), *facts.items()])
