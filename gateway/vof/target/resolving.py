# SPDX-License-Identifier: BSD-3-Clause
"""Finds the addresses that ``address`` in [target] stands for.

Must not know what is listened on there, nor how.
"""

from __future__ import annotations

import socket
from typing import Any

from vof.errors import ConfigError


def resolve(address: str) -> list[tuple[Any, ...]]:
    """Return what getaddrinfo(3) has for a stream socket that listens. Raises ConfigError."""
    try:
        return socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ConfigError(
            f"cannot find the address {address!r}: {reason}; correct address in [target]"
        ) from None
