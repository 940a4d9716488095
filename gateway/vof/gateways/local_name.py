# SPDX-License-Identifier: BSD-3-Clause
"""The name by which a device or a mount of this machine is called (ours).

It becomes a part of file names, links and unit names, so little is allowed.
"""

from __future__ import annotations

import re

from vof.errors import ConfigError

MAX_NAME = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")


def check_device_name(name: str) -> str:
    """Return a name that can be used; else raise ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a name: up to {MAX_NAME} letters, digits, '.', '_' and '-' are "
            "allowed, a letter or digit first"
        )
    return name
