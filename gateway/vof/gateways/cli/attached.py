# SPDX-License-Identifier: BSD-3-Clause
"""Describes an attached disk, for the verbs that are about those, and has their common option."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vof.gateways.attach.ending import device_of
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.state import DEFAULT_FOLDER, Entry, StateFolder

STALE = "stale"
"""The state of a disk whose supervisor was killed."""


def add_state_option(parser: argparse.ArgumentParser) -> None:
    """Give a verb the option."""
    parser.add_argument(
        "--state-dir",
        metavar="FOLDER",
        type=Path,
        help=f"where attached disks are noted (default {DEFAULT_FOLDER})",
    )


def state_folder(arguments: argparse.Namespace) -> StateFolder:
    return StateFolder(arguments.state_dir)


def describe(entry: Entry, kernel: Kernel) -> dict[str, Any]:
    """Return what is known of a disk, in the form of the JSON."""
    record = entry.record
    device = device_of(entry, kernel)
    state = "connecting" if record is None else record.state
    if entry.owner is None:
        state = STALE
    found: dict[str, Any] = {
        "name": entry.name,
        "state": state,
        "device": record.device if record and record.device else None,
        "size": record.size if record and record.size else None,
        "tvqn": record.tvqn if record else None,
        "target": record.target if record else None,
    }
    if record is None:
        return found
    return found | {
        "read_only": record.read_only,
        "identifier": record.identifier or None,
        "links": [] if device is None else _links(entry.name, record.identifier, kernel),
        "uses": [] if device is None else [use.how for use in device.uses()],
        "connections": record.connections,
        "fast_path": record.fast_path,
        "fast_path_reason": record.fast_path_reason or None,
        "supervisor": entry.owner,
        "nbdkit": record.nbdkit or None,
        "since": record.since or None,
        "state_since": record.state_since or None,
        "restarts": record.restarts,
        "error": record.error or None,
        "metrics": record.metrics or None,
        "settings": record.settings,
    }


def _links(name: str, identifier: str, kernel: Kernel) -> list[str]:
    """Return the links that there are."""
    serial = identifier.rpartition(":")[2]
    links = (kernel.dev / "vof" / name, kernel.dev / "disk/by-id" / f"virtio-of-{serial}")
    return [str(link) for link in links if link.is_symlink()]
