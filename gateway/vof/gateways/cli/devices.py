# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl list`` and ``vofctl status``: show the attached disks, in one line each or in full."""

from __future__ import annotations

import argparse
from typing import Any

from vof.gateways.attach.ending import find
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.cli.attached import add_state_option, describe, state_folder
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import (
    add_output_option,
    wants_json,
    write_facts,
    write_json,
    write_table,
)

_COLUMNS = ("name", "state", "device", "size", "tvqn", "target")
_LISTS = ("links", "uses")


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Give ``list`` its options."""
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run_list)


def add_status_options(parser: argparse.ArgumentParser) -> None:
    """Give ``status`` its options."""
    parser.add_argument(
        "disk", nargs="?", metavar="NAME|DEVICE|TVQN", help="the disk (default: all)"
    )
    add_state_option(parser)
    add_output_option(parser)
    parser.set_defaults(run=run_status)


def run_list(given: argparse.Namespace) -> Exit:
    """Write a line for each disk."""
    kernel = Kernel()
    found = [describe(entry, kernel) for entry in state_folder(given).entries()]
    if wants_json(given):
        write_json({"disks": [{key: disk[key] for key in _COLUMNS} for disk in found]})
    else:
        columns = [column.upper() for column in _COLUMNS]
        write_table(columns, ([disk[key] for key in _COLUMNS] for disk in found))
    return Exit.DONE


def run_status(given: argparse.Namespace) -> Exit:
    """Write all that is known of a disk, or of each."""
    kernel = Kernel()
    entries = state_folder(given).entries()
    if given.disk is not None:
        entries = [find(given.disk, entries, kernel)]
    found = [describe(entry, kernel) for entry in entries]
    if wants_json(given):
        write_json({"disks": found})
        return Exit.DONE
    for number, disk in enumerate(found):
        if number:
            write_facts([("", "")])
        _write(disk)
    return Exit.DONE


def _write(disk: dict[str, Any]) -> None:
    settings = disk.pop("settings", [])
    if reason := disk.pop("fast_path_reason", None):
        disk["fast_path"] = f"no ({reason})"
    for key in _LISTS:
        disk[key] = ", ".join(disk.get(key, [])) or None
    write_facts(disk.items())
    rows = ((each["key"], each["value"], each["origin"]) for each in settings)
    write_table(("SETTING", "VALUE", "ORIGIN"), rows)
