# SPDX-License-Identifier: BSD-3-Clause
"""Opens the RDMA connections of an association, bound to the local end the user asked for.

Owns name resolution and the connect deadline. pyverbs is not loaded before the first connection.
Must not send or receive.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from vof.errors import ConfigError, ConnectError
from vof.fabric.rdma_errors import check_machine, explained
from vof.rdma.loading import logging_left_alone

if TYPE_CHECKING:
    from vof.fabric.rdma_link import RdmaLink
    from vof.fabric.verbs import Domain


def connect_rdma(
    taddr: str,
    tport: int,
    iaddr: str | None,
    iport: int,
    timeout: float,
    domain: Domain | None,
    commands: int,
) -> tuple[RdmaLink, Domain]:
    """Return a connected link with receives for ``commands`` commands, and the domain it is in:
    the association's, or a new one for its first connection.

    ``taddr`` is an IPv4 or IPv6 address or a host name, whose addresses are tried in order within
    ``timeout`` seconds altogether. ``iaddr`` and ``iport`` (0: any) name the local end. Raises
    ConfigError without pyverbs, ConnectError.
    """
    _load()
    check_machine()
    where = f"{taddr}:{tport}" if ":" not in taddr else f"[{taddr}]:{tport}"
    deadline = time.monotonic() + timeout
    source = _resolve("iaddr", iaddr, 0)[0] if iaddr else None
    reason: ConnectError | None = None
    for address in _resolve("taddr", taddr, tport):
        try:
            left = max(0.01, deadline - time.monotonic())
            return _connect(address, tport, source, iport, left, domain, commands)
        except OSError as error:
            reason = explained(error, where, address, source, iport, timeout)
    assert reason is not None
    raise reason


def _load() -> None:
    try:
        with logging_left_alone():
            from vof.fabric import rdma_cm, rdma_link  # noqa: F401, PLC0415 - only who wants RDMA
    except ImportError as error:
        raise ConfigError(
            f"transport=rdma needs pyverbs, which cannot be loaded: {error}; install the package "
            "python3-pyverbs"
        ) from None


def _resolve(key: str, name: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectError(f"cannot resolve {key}={name}: {error}; check the address") from None
    return [str(item[4][0]) for item in found]


def _connect(
    address: str,
    port: int,
    source: str | None,
    source_port: int,
    timeout: float,
    domain: Domain | None,
    commands: int,
) -> tuple[RdmaLink, Domain]:
    from vof.fabric.rdma_cm import ConnectionManager  # noqa: PLC0415
    from vof.fabric.rdma_link import RdmaLink  # noqa: PLC0415
    from vof.fabric.verbs import Domain  # noqa: PLC0415

    deadline = time.monotonic() + timeout
    manager = ConnectionManager()
    try:
        manager.resolve(address, port, source, source_port, timeout)
        if domain is None:
            domain = Domain(manager.device)
        elif domain.device != manager.device:
            raise ConnectError(
                f"{address} is reached by RDMA device {manager.device} now, and by {domain.device} "
                "before; name one of them in iaddr="
            )
        link = RdmaLink(domain, manager, commands)
    except BaseException:
        manager.let_go()
        raise
    try:
        link.establish(max(0.01, deadline - time.monotonic()))
    except BaseException:
        link.close()
        raise
    return link, domain
