# SPDX-License-Identifier: BSD-3-Clause
"""The addresses that this machine's RDMA devices serve, as the system tells them.

A device's table of GIDs has an entry for each address of its network interface. Needs no pyverbs,
and must not say what an address is wanted for.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, TypeAlias

DEVICES = Path("/sys/class/infiniband")

_UNUSED = ":".join(["0000"] * 8)
"""What an entry has that is not in use: most of a thousand."""

Address: TypeAlias = IPv4Address | IPv6Address


class Served(NamedTuple):
    """An address and the device that serves it."""

    address: Address
    device: str


def devices(folder: Path | None = None) -> list[str]:
    """Return the names of the RDMA devices, by what is in ``folder`` (default DEVICES)."""
    folder = folder or DEVICES
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def served_addresses(folder: Path | None = None) -> list[Served]:
    """Return the addresses of all RDMA devices, those that hold on one link only included, by what
    is in ``folder`` (default DEVICES)."""
    folder = folder or DEVICES
    found = []
    for path in sorted(folder.glob("*/ports/*/gids/*")):
        try:
            text = path.read_text(encoding="ascii").strip()
            if text == _UNUSED:
                continue
            gid = IPv6Address(text)
        except (OSError, ValueError):
            continue  # an entry that is being changed
        # A device has an entry for each version of RoCE.
        found.append(Served(gid.ipv4_mapped or gid, path.relative_to(folder).parts[0]))
    return list(dict.fromkeys(found))
