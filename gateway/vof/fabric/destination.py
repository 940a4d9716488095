# SPDX-License-Identifier: BSD-3-Clause
"""The destination of an opening: a target's addresses, and the one that all connections use.

Two addresses may be two machines, so the first connection that succeeds settles it for the others.
Owns name resolution, by a thread where a name service is asked, since nothing else bounds that; and
the time that the opening may take. Must not connect.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from vof.addresses import check_interface, with_port
from vof.descriptors import explain, none_left
from vof.errors import ConfigError, ConnectError
from vof.fabric.deadline import Deadline


class Address(NamedTuple):
    """A numeric address with a port."""

    family: int
    place: tuple[Any, ...]
    """As the calls of its family take it."""

    @property
    def host(self) -> str:
        """The address alone, with its interface where it has one."""
        return str(self.place[0])


class Destination:
    """A target, for one opening; its time begins when this is made."""

    def __init__(self, taddr: str, tport: int, seconds: float) -> None:
        self.taddr = taddr
        self.tport = tport
        self.where = with_port(taddr, tport)
        """As messages name it."""
        self._seconds = seconds
        self._addresses: Sequence[Address] = ()
        self.begin()

    def begin(self) -> None:
        """Give what follows the whole time, once more."""
        self.deadline = Deadline(self._seconds, f"a session with {self.where}")

    def addresses(self) -> Sequence[Address]:
        """Return the addresses to be tried, in this order; one alone where it is settled.

        Raises ConnectError.
        """
        if not self._addresses:
            self._addresses = interleaved(resolve("taddr", self.taddr, self.tport, self.deadline))
        return self._addresses

    def settle(self, address: Address) -> None:
        """Let every later connection go to ``address``."""
        self._addresses = (address,)


def interleaved(addresses: Sequence[Address]) -> Sequence[Address]:
    """Return the addresses with their families in turn, the first one's first (RFC 8305 section
    4), each once."""
    once = list(dict.fromkeys(addresses))
    first = [item for item in once if item.family == once[0].family]
    other = [item for item in once if item.family != once[0].family]
    pairs = zip_longest(first, other)
    return [item for item in chain.from_iterable(pairs) if item is not None]


def resolve(key: str, name: str, port: int, deadline: Deadline) -> list[Address]:
    """Return the addresses of ``name``, the value of the parameter ``key``, at least one.

    Raises ConnectError, ConfigError.
    """
    _check(key, name, name)
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = _ask(key, name, port, deadline)
    addresses = [Address(item[0], item[4]) for item in found]
    usable = [item for item in addresses if not _lacks_interface(item)]
    if not usable:
        _check(key, name, addresses[0].host)
    return usable


def _check(key: str, name: str, address: str) -> None:
    try:
        check_interface(address)
    except ValueError as error:
        where = f"{key}={name}" if address == name else f"{key}={name}: {address}"
        raise ConfigError(f"{where} {error}") from None


def _ask(key: str, name: str, port: int, deadline: Deadline) -> list[Any]:
    """Return what the system's name services say."""
    answer: SimpleQueue[list[Any] | OSError | UnicodeError] = SimpleQueue()

    def look() -> None:
        try:
            answer.put(list(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # It ends by itself when the resolver has given up (resolv.conf(5)), whoever waits or does not.
    thread = Thread(target=look, name="vof-resolve", daemon=True)
    thread.start()
    try:
        found = answer.get(timeout=deadline.left())
        thread.join()
    except Empty:
        raise ConnectError(
            f"cannot resolve {key}={name}: no answer within {deadline.seconds:g} s; is the name "
            "server reachable?"
        ) from None
    if isinstance(found, list):
        return found
    raise ConnectError(f"cannot resolve {key}={name}: {_why(found)}")


def _why(error: OSError | UnicodeError) -> str:
    # The resolver does not say that it could open nothing.
    if (shortage := none_left()) is not None:
        return explain(shortage)
    if isinstance(error, UnicodeError):
        return "no host can be called so; check the address"
    text = error.strerror or str(error)
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return f"{text}; is the name server reachable?"
    return f"{text}; check the address"


def _lacks_interface(address: Address) -> bool:
    if address.family != socket.AF_INET6:
        return False
    return ipaddress.IPv6Address(address.host).is_link_local and not address.place[3]
