# SPDX-License-Identifier: BSD-3-Clause
"""Listening with the RDMA connection manager, on every address that is asked for.

Owns the words for what keeps a target from listening. Must not know connections.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import pyverbs.cm_enums as ce
from pyverbs.cmid import CMID, AddrInfo, CMEventChannel
from pyverbs.pyverbs_error import PyverbsError

from vof.addresses import with_port
from vof.errors import ConfigError, VofError
from vof.rdma.descriptors import EVENT_CHANNEL, close_with_descriptor, with_descriptor
from vof.rdma.failures import os_error
from vof.target.rdma.addresses import choose, not_served

_BACKLOG = 128
_ATTEMPTS = 16


class Listener:
    """One address that is listened on. Events of its connections come on its channel."""

    def __init__(self, address: str, port: int) -> None:
        """``address`` is numeric, and neither a loopback address nor one that stands for all.
        Raises OSError."""
        self.address = address
        self.port = port
        self.cmid: Any = None
        try:
            self.channel, self._fd = with_descriptor(CMEventChannel, EVENT_CHANNEL)
            try:
                self.cmid = CMID(creator=self.channel)
                # Binds to a device: an address without one fails.
                self.cmid.bind_addr(
                    AddrInfo(
                        src=address,
                        src_service=str(port),
                        port_space=ce.RDMA_PS_TCP,
                        flags=ce.RAI_PASSIVE,
                    )
                )
                self.device: str = self.cmid.dev_name
                self.cmid.listen(_BACKLOG)
            except BaseException:
                self.close()
                raise
        except PyverbsError as error:
            raise os_error(error) from None

    @property
    def place(self) -> str:
        """Address and port, as in log lines."""
        return with_port(self.address, self.port)

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are events."""
        return self._fd

    def close(self) -> None:
        """Listen no more; no connection of this listener is left. Idempotent."""
        if self.cmid is not None:
            self.cmid.close()
        close_with_descriptor(self.channel)


def listen(address: str, port: int) -> list[Listener]:
    """Return listeners at what ``address`` says, all on one port; 0 takes a free one.

    Raises VofError, with nothing left open.
    """
    places = choose(address)
    for _attempt in range(_ATTEMPTS):
        chosen = port or _free_port()
        try:
            return _listen_at(places, chosen)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise _reason(address, chosen, error) from None
    raise VofError(f"cannot listen on {address} for RDMA: no free port", errno=errno.EADDRINUSE)


def _listen_at(places: list[list[str]], port: int) -> list[Listener]:
    listeners: list[Listener] = []
    try:
        for alternatives in places:
            listeners.append(_first(alternatives, port))  # noqa: PERF401 - a failure closes those before it
    except BaseException:
        for item in listeners:
            item.close()
        raise
    return listeners


def _first(alternatives: list[str], port: int) -> Listener:
    for address in alternatives[:-1]:
        try:
            return Listener(address, port)
        except OSError:
            continue
    return Listener(alternatives[-1], port)


def _reason(address: str, port: int, error: OSError) -> VofError:
    """Say what keeps us from listening, and what to do about it."""
    if error.errno == errno.ENODEV:
        return ConfigError(not_served(address))
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"cannot listen on {address} for RDMA: it is no address of this machine; "
            "correct address in [target]"
        )
    if error.errno == errno.EADDRINUSE:
        advice = "free it, or set another address or port in [target]"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "give this user access to /dev/infiniband"
    else:
        advice = "see `rdma link` and `rdma resource`, or take rdma out of transport in [target]"
    return VofError(
        f"cannot listen on {address} port {port} for RDMA: {error.strerror}; {advice}",
        errno=error.errno or errno.EIO,
    )


def _free_port() -> int:
    """Return a port that no stream socket has; whether RDMA has it is to be tried."""
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])
