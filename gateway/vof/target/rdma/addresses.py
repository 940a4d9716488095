# SPDX-License-Identifier: BSD-3-Clause
"""Chooses the addresses to listen at: those that RDMA devices serve.

Owns what ``address`` in [target] means for RDMA, and the words for an address that cannot be used.
Must not know pyverbs, which takes the process down when it is to bind to an address without a
device: a loopback address or one that stands for all.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from vof.errors import ConfigError
from vof.rdma.addresses import Served, served_addresses
from vof.target.resolving import resolve

NO_DEVICE = (
    "there is no RDMA device with an address; "
    "`rdma link add rxe0 type rxe netdev eth0` makes one of a network interface"
)


def others_can_reach(devices: Path | None = None) -> list[Served]:
    """Return the addresses that another machine could connect to."""
    return [item for item in served_addresses(devices) if not item.address.is_link_local]


def choose(address: str, devices: Path | None = None) -> list[list[str]]:
    """Return where to listen for ``address``: everywhere in the list, at the first of each of its
    lists that can be bound to.

    Raises ConfigError where no RDMA device can serve it, as far as one can tell.
    """
    places = [ip_address(name) for name in _find(address)]
    if any(place.is_unspecified for place in places):
        # Not read where it is not needed: a port may have a thousand entries.
        known = others_can_reach(devices)
        either = any(place.version == 6 for place in places)
        chosen = [item.address for item in known if either or item.address.version == 4]
        if not chosen:
            raise ConfigError(f"cannot listen on {address} for RDMA: {NO_DEVICE}")
        return [[str(item)] for item in chosen]
    usable = [str(place) for place in places if not place.is_loopback]
    if not usable:
        raise ConfigError(not_served(address, devices))
    return [usable]


def not_served(address: str, devices: Path | None = None) -> str:
    """Say that no RDMA device serves ``address``, and which ones there are."""
    known = others_can_reach(devices)
    there = ", ".join(f"{item.address} ({item.device})" for item in known)
    what = f"set address in [target] to one that is served: {there}" if known else NO_DEVICE
    return f"no RDMA device serves the address {address}; {what}"


def _find(address: str) -> list[str]:
    """Return the numeric addresses of a host name. Raises ConfigError."""
    return [str(place[0]) for *_kind, place in resolve(address)]
