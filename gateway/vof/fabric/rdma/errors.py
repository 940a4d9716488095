# SPDX-License-Identifier: BSD-3-Clause
"""Explains in words a machine or a network without RDMA, and connections that cannot be made.

Needs no pyverbs. Must not connect.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from pathlib import Path

from vof.descriptors import explain
from vof.errors import ConnectError
from vof.fabric.unreachable import Failure
from vof.rdma import addresses

_MANAGER = Path("/dev/infiniband/rdma_cm")


class CmError(OSError):
    """The connection manager says no, with an ``errno`` that says why: ENODEV, EHOSTUNREACH,
    ECONNREFUSED, ETIMEDOUT, or the system's own. ``step`` is what was asked of it: the address, the
    route or the connection."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.step = step


def check_machine() -> None:
    """Raise ConnectError where this machine has no RDMA device, or nothing to connect with."""
    if not addresses.devices():
        raise ConnectError(
            "transport=rdma: this machine has no RDMA device; a network interface IF gets one by "
            "'rdma link add rxe0 type rxe netdev IF'",
            errno=errno.ENODEV,
        )
    if not _MANAGER.exists():
        raise ConnectError(
            f"transport=rdma: there is no {_MANAGER}; load the kernel's connection manager by "
            "'modprobe rdma_ucm'",
            errno=errno.ENODEV,
        )


def explained(
    source: str | None, source_port: int, seconds: float, address: str, error: OSError | None
) -> Failure | ConnectError:
    """Say what became of the attempt at one of the target's addresses; see ``unreachable``."""
    step = error.step if isinstance(error, CmError) else None
    if error is None or (error.errno == errno.ETIMEDOUT and step):
        text = f"no answer within {seconds:g} s"
        return Failure(address, text, errno.ETIMEDOUT, "is the target's host up, with RDMA?")
    served = {item.address for item in addresses.served_addresses()}
    named = sorted(str(each) for each in served if not each.is_link_local)
    ours = f"RDMA devices here have {', '.join(named) or 'no address'}"
    if step == "address" and error.errno in _LOCAL and (source or source_port):
        local = f"iaddr={source} iport={source_port}" if source else f"iport={source_port}"
        if source and ipaddress.ip_address(source.partition("%")[0]) not in served:
            text = f"cannot use {local}: no RDMA device has this address; {ours}"
            return ConnectError(text, errno=error.errno)
        if error.errno != errno.ENODEV:
            text = f"cannot use {local} as the local end: {error.strerror}"
            return ConnectError(text, errno=error.errno)
    if error.errno in _NO_WAY and step:
        return Failure(address, f"no RDMA device leads to {address}", error.errno, ours)
    if error.errno == errno.ECONNREFUSED and step:
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            text = f"{address} is no address of an RDMA device"
            return Failure(address, text, error.errno, ours)
        advice = "is a target listening there with transport rdma?"
        return Failure(address, "refused", error.errno, advice)
    return Failure(address, explain(error), error.errno)


_LOCAL = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EACCES})
"""Why a local end cannot be had."""

_NO_WAY = frozenset({errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH})
"""Why the target cannot be reached."""
