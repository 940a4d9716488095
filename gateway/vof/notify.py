# SPDX-License-Identifier: BSD-3-Clause
"""Telling systemd how a service is doing: sd_notify(3), as far as it is one datagram."""

from __future__ import annotations

import os
import socket

_VARIABLE = "NOTIFY_SOCKET"


def notify(state: str) -> bool:
    """Send the state, as ``READY=1``; return whether there was a manager to send it to."""
    address = os.environ.get(_VARIABLE, "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(errors="backslashreplace"), address)
        except OSError:
            return False
    return True
