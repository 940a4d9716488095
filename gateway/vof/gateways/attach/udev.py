# SPDX-License-Identifier: BSD-3-Clause
"""Waits for the links that udev makes of an attached disk.

The links are made by udev/70-vof.rules; this module knows whether that is installed.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from vof.gateways.attach.nbd.blockdev import BlockDevice

logger = logging.getLogger(__name__)

RULE = "70-vof.rules"

_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
_CONTROL = "run/udev/control"
_PATIENCE = 30.0
_POLL = 0.02


def link_of(device: BlockDevice, name: str) -> Path:
    """Return the link by name, which is there or not."""
    return device.kernel.dev / "vof" / name


def makes_links(root: Path = Path("/")) -> bool:
    """Return whether udev runs and has our rule."""
    rules = (root / folder / "udev/rules.d" / RULE for folder in _FOLDERS)
    return (root / _CONTROL).exists() and any(rule.exists() for rule in rules)


def wait_for_links(device: BlockDevice, name: str, patience: float = _PATIENCE) -> None:
    """Return when the links are there, where udev makes any; says so if it takes too long."""
    if not makes_links():
        return
    link = link_of(device, name)
    deadline = time.monotonic() + patience
    while os.path.realpath(link) != str(device.path):
        if time.monotonic() > deadline:
            logger.warning("udev has not made %s within %g s", link, patience)
            return
        time.sleep(_POLL)
