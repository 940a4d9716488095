# SPDX-License-Identifier: BSD-3-Clause
"""Makes the queues of a session: native ones where they are to be had, see ``implementation``."""

from __future__ import annotations

import socket

from vof.fabric.interface import OnLost, Queue
from vof.fabric.tcp.queue import TcpQueue
from vof.implementation import use_native
from vof.wire.dialect import Framing

__all__ = ["keep_thread", "open_queue"]

_missing: ImportError | None = None
try:
    from vof.engine.native import NativeQueue
    from vof.engine.threads import keep_thread
except ImportError as error:
    _missing = error

    def keep_thread() -> None:
        """Do without."""


_FIRST_SIZE = 16
"""Descriptors in flight for the Connect, and on a control queue: one command at a time."""


def open_queue(
    sock: socket.socket,
    name: str,
    on_lost: OnLost,
    timeout: float | None,
    framing: Framing = Framing.CHAINS,
) -> Queue:
    """Return a queue over the connected ``sock``, which belongs to it from now on.

    Raises ConfigError where the user insists on a native one and there is none.
    """
    try:
        native = use_native(_missing)
    except BaseException:
        sock.close()
        raise
    return (NativeQueue if native else TcpQueue)(sock, name, on_lost, timeout, _FIRST_SIZE, framing)
