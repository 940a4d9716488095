# SPDX-License-Identifier: BSD-3-Clause
"""The identifier by which the kernel, udev and vofctl know an attached disk again (ours).

``vof:NAME:SERIAL`` is given to the nbd driver as NBD_ATTR_BACKEND_IDENTIFIER and stands in
/sys/block/nbdN/backend from then on: a device is given new connections only by who knows it, and
udev/vof_id makes links of it. Owns which characters both parts may have.
"""

from __future__ import annotations

import re
from zlib import crc32

from vof.gateways.settings.local_name import name_of, shortened

PREFIX = "vof"

_UNSAFE = re.compile(r"[^A-Za-z0-9#+.=@_\-\u0080-\U0010ffff]")

MAX_SERIAL = 237
"""Bytes in UTF-8: a file name's 255 but for ``virtio-of-`` and ``-part128``."""


def default_name(tvqn: str) -> str:
    """Return a device's name made of its tvqn: the last part, without ``.service``."""
    return name_of(tvqn.rstrip("/").rpartition("/")[2].removesuffix(".service")) or "disk"


def safe_serial(serial: str, tvqn: str) -> str:
    """Return the serial as it stands in links: any character that is not safe there becomes "_".

    A device without one is known by its tvqn (ours). Of what is too long the end becomes a sum of
    the whole, or two tvqns that differ there would have one link.
    """
    made = _made_safe(serial.strip()) or _made_safe(tvqn)
    if len(made.encode()) <= MAX_SERIAL:
        return made
    return f"{shortened(made, MAX_SERIAL - 9)}-{crc32(made.encode()):08x}"


def make_identifier(name: str, serial: str) -> str:
    """Return the identifier of a checked name and a safe serial."""
    return f"{PREFIX}:{name}:{serial}"


def _made_safe(text: str) -> str:
    """Return the text with "_" for what udev would not take into a link; it takes UTF-8."""
    return _UNSAFE.sub("_", "".join(each if each.isprintable() else "_" for each in text))
