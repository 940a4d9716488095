# SPDX-License-Identifier: BSD-3-Clause
"""Opens the RDMA connections of an association, bound to the local end the user asked for.

pyverbs is not loaded before the first connection. Must not send or receive.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vof.errors import ConfigError, ConnectError
from vof.fabric.destination import Destination, resolve
from vof.fabric.rdma.errors import check_machine, explained
from vof.fabric.staggered import AllFailed, Attempt, first_of
from vof.fabric.unreachable import unreachable
from vof.rdma.loading import logging_left_alone

if TYPE_CHECKING:
    from vof.fabric.rdma.link import RdmaLink
    from vof.fabric.rdma.verbs import Domain


def connect_rdma(
    destination: Destination,
    iaddr: str | None,
    iport: int,
    domain: Domain | None,
    commands: int,
) -> tuple[RdmaLink, Domain]:
    """Return a connected link with receives for ``commands`` commands, and the domain it is in:
    the association's, or a new one for its first connection. Settle ``destination`` at the address
    that the link goes to.

    ``iaddr`` and ``iport`` (0: any) name the local end. Raises ConfigError without pyverbs,
    ConnectError.
    """
    _load()
    check_machine()
    deadline = destination.deadline
    addresses = destination.addresses()
    source = resolve("iaddr", iaddr, 0, deadline)[0].host if iaddr else None
    end = deadline.at
    starts = [
        partial(_attempt, address.host, destination.tport, source, iport, end, domain, commands)
        for address in addresses
    ]
    try:
        index, made = first_of(starts, deadline)
    except AllFailed as failed:
        explain = partial(explained, source, iport, deadline.seconds)
        raise unreachable(destination, failed, explain, " over RDMA") from None
    destination.settle(addresses[index])
    return made


def _load() -> None:
    try:
        with logging_left_alone():
            from vof.fabric.rdma import cm, link  # noqa: F401, PLC0415 - only who wants RDMA
    except ImportError as error:
        raise ConfigError(
            f"transport=rdma needs pyverbs, which cannot be loaded: {error}; install the package "
            "python3-pyverbs"
        ) from None


def _attempt(
    address: str,
    port: int,
    source: str | None,
    source_port: int,
    deadline: float,
    domain: Domain | None,
    commands: int,
) -> Attempt[tuple[RdmaLink, Domain]]:
    from vof.fabric.rdma.cm import ConnectionManager  # noqa: PLC0415
    from vof.fabric.rdma.link import RdmaLink  # noqa: PLC0415
    from vof.fabric.rdma.verbs import Domain  # noqa: PLC0415

    manager = ConnectionManager()
    made: Domain | None = None
    try:
        yield from manager.resolve(address, port, source, source_port, deadline)
        if domain is None:
            domain = made = Domain(manager.device)
        elif domain.device != manager.device:
            raise ConnectError(
                f"{address} is reached by RDMA device {manager.device} now, and by {domain.device} "
                "before; name one of them in iaddr="
            )
        link = RdmaLink(domain, manager, commands)
    except BaseException:
        manager.let_go()
        if made is not None:
            made.let_go()
        raise
    try:
        yield from link.establish(deadline)
    except BaseException:
        link.close()
        raise
    return link, domain
