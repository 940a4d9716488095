# SPDX-License-Identifier: BSD-3-Clause
"""An address as a user writes it: IPv4, IPv6 with or without brackets, or a host's name.

Owns what can be said of one without asking anybody. Must not resolve or connect.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address

from vof.errors import ConfigError

_WITH_PORT = re.compile(r"(\[.*\]|[^:]*):([0-9]*)", re.DOTALL)


def parse_address(key: str, text: str, port_key: str) -> str:
    """Return an address without its brackets. Raises ConfigError naming ``key``; ``port_key`` is
    where a port would belong."""
    if not text:
        raise ConfigError(f"{key} is empty; give an address or a host name")
    if found := _WITH_PORT.fullmatch(text):
        raise ConfigError(
            f"{key}={text}: a port does not belong here; use {key}={found[1]} "
            f"{port_key}={found[2] or 'PORT'}"
        )
    bare = text
    if text[0] == "[" and text[-1] == "]":
        bare = text[1:-1]
        if ":" not in bare:
            raise ConfigError(f"{key}={text}: only an IPv6 address stands in brackets")
    if not bare.isprintable() or set(bare) & set(" /,@[]"):
        raise ConfigError(f"{key}={text}: not an address or a host name")
    check_interface(key, bare)
    return bare


def check_interface(key: str, address: str) -> None:
    """Raise ConfigError where an address does not say at which interface it is, or one that is not
    there."""
    bare, percent, interface = address.partition("%")
    try:
        number = IPv6Address(bare)
    except ValueError:
        return  # a name, or IPv4
    here = sorted(name for _index, name in socket.if_nameindex())
    if percent and interface not in here and not interface.isdecimal():
        raise ConfigError(
            f"{key}={address}: there is no interface {interface!r} here; there are "
            f"{', '.join(here)}"
        )
    if number.is_link_local and not percent:
        raise ConfigError(
            f"{key}={address}: a link-local address needs its interface: {bare}%INTERFACE, with "
            f"one of {', '.join(here)}"
        )
