# SPDX-License-Identifier: BSD-3-Clause
"""What is said where the machine or the network has no RDMA, or a connection cannot be made.

Needs no pyverbs. Must not connect.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from pathlib import Path

from vof.errors import ConnectError
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
    error: OSError, where: str, address: str, source: str | None, source_port: int, timeout: float
) -> ConnectError:
    """Say what became of the attempt at one of the target's addresses."""
    step = error.step if isinstance(error, CmError) else None
    served = {item.address for item in addresses.served_addresses()}
    named = sorted(str(each) for each in served if not each.is_link_local)
    ours = ", ".join(named) or "none"
    if step == "address" and error.errno in _LOCAL and (source or source_port):
        local = f"iaddr={source} iport={source_port}" if source else f"iport={source_port}"
        if source and ipaddress.ip_address(source.partition("%")[0]) not in served:
            text = f"cannot use {local}: no RDMA device has this address; those here have {ours}"
            return ConnectError(text, errno=error.errno)
        text = f"cannot use {local} as the local end: {error.strerror}"
        if error.errno != errno.ENODEV:
            return ConnectError(text, errno=error.errno)
    if error.errno == errno.ETIMEDOUT and step:
        text = f"no answer within {timeout:g} s; is the target's host up, with RDMA?"
    elif error.errno in _NO_WAY and step:
        text = f"no RDMA device leads to {address}; those here have {ours}"
    elif error.errno == errno.ECONNREFUSED and step:
        text = "refused; is a target listening there with transport rdma?"
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            text = f"{address} is no address of an RDMA device; those here have {ours}"
    else:
        text = error.strerror or str(error)
    return ConnectError(f"cannot connect to {where} over RDMA: {text}", errno=error.errno)


_LOCAL = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EACCES})
"""Why a local end cannot be had."""

_NO_WAY = frozenset({errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH})
"""Why the target cannot be reached."""
