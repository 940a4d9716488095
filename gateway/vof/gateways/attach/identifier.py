# SPDX-License-Identifier: BSD-3-Clause
"""The identifier by which the kernel, udev and vofctl know an attached disk again (ours).

``vof:NAME:SERIAL`` is given to the nbd driver as NBD_ATTR_BACKEND_IDENTIFIER and stands in
/sys/block/nbdN/backend from then on: a device is given new connections only by who knows it, and
udev/vof_id makes links of it. Owns which characters both parts may have.
"""

from __future__ import annotations

import re

from vof.errors import ConfigError
from vof.gateways.local_name import MAX_NAME, check_device_name

PREFIX = "vof"

_UNSAFE = re.compile(r"[^A-Za-z0-9#+.=@_-]")

MAX_SERIAL = 255


def default_name(tvqn: str) -> str:
    """Return a device's name made of its tvqn: the last part, without ``.service``."""
    last = tvqn.rstrip("/").rpartition("/")[2].removesuffix(".service")
    made = re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip("._-")[:MAX_NAME]
    return made or "disk"


def safe_serial(serial: str, tvqn: str) -> str:
    """Return the serial as it stands in links: any character that is not safe there becomes "_".

    A device without one is known by its tvqn (ours).
    """
    made = _UNSAFE.sub("_", serial.strip()) or _UNSAFE.sub("_", tvqn)
    return made[:MAX_SERIAL]


def make_identifier(name: str, serial: str) -> str:
    """Return the identifier of a checked name and a safe serial."""
    return f"{PREFIX}:{name}:{serial}"


def parse_identifier(text: str) -> tuple[str, str] | None:
    """Return name and serial; None for what is not ours."""
    prefix, name, serial = (*text.split(":", 2), "", "")[:3]
    if prefix != PREFIX or not serial or _UNSAFE.search(serial):
        return None
    try:
        return check_device_name(name), serial
    except ConfigError:
        return None
