# SPDX-License-Identifier: BSD-3-Clause
"""An address as a user writes it: IPv4, IPv6 with or without brackets, or a host's name.

Owns what can be said of one without asking anybody, as what follows the address in a message. Must
not resolve or connect.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address

MAX_LENGTH = 253 + 1 + 15
"""Characters of the longest host name, or of an address and its interface."""

_WITH_PORT = re.compile(r"(\[.*\]|[^:]*):([0-9]*)", re.DOTALL)


def parse_address(text: str, key: str, port_key: str) -> str:
    """Return the address without its brackets, where it stands under ``key`` and its port under
    ``port_key``. Raises ValueError."""
    if not text:
        raise ValueError("is empty; give an address or a host name")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is {len(text)} characters long, more than any address or host name")
    if found := _WITH_PORT.fullmatch(text):
        raise ValueError(
            f"has a port, which does not belong here; use {key}={found[1]} and "
            f"{port_key}={found[2] or 'PORT'}"
        )
    bare = text
    if text[0] == "[" and text[-1] == "]":
        bare = text[1:-1]
        if ":" not in bare:
            raise ValueError("has brackets, which are for an IPv6 address")
    if not bare.isprintable() or set(bare) & set(" /,@[]"):
        raise ValueError("is not an address or a host name")
    check_interface(bare)
    return bare


def with_port(address: str, port: int) -> str:
    """Return an address and its port in one, as messages name them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def check_interface(address: str) -> None:
    """Raise ValueError where an IPv6 address should say which interface it belongs to and does not,
    or says one that is not there."""
    bare, percent, interface = address.partition("%")
    try:
        number = IPv6Address(bare)
    except ValueError:
        return  # a name, or IPv4
    here = ", ".join(sorted(name for _index, name in socket.if_nameindex()))
    if number.is_link_local and not percent:
        raise ValueError(
            f"is a link-local address, and needs its interface: {bare}%INTERFACE, with one of "
            f"{here}"
        )
    if percent and not interface.isdecimal() and interface not in here.split(", "):
        raise ValueError(f"names an interface that is not here; there are {here}")
