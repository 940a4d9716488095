# SPDX-License-Identifier: BSD-3-Clause
"""Where a target listens: every port with every transport, or nothing at all."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.loopback import unused_port
from tests.unit.target.place import Place
from vof.errors import VofError
from vof.target import listening as module
from vof.target.config import Settings
from vof.target.listening import Listening
from vof.target.rdma.loading import Rdma
from vof.target.tcp.acceptor import Acceptor

# Addresses that nobody else on this machine listens on.
HERE = "127.85.49.1"
OTHER = "127.85.49.2"


@dataclass
class KeyedListener:
    """Listens to nobody."""

    port: int
    address: str = "192.0.2.1"
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class Keyed:
    """RDMA on a machine without it."""

    def __init__(self) -> None:
        self.listeners: list[KeyedListener] = []
        self.served: list[KeyedListener] = []
        self.taken = -1

    def listen(self, _address: str, port: int) -> list[KeyedListener]:
        if port == self.taken:
            raise VofError("it is taken", errno=errno.EADDRINUSE)
        self.listeners.append(KeyedListener(port or 40000 + len(self.listeners)))
        return self.listeners[-1:]

    def acceptor(self, listeners: list[KeyedListener], *_others: object) -> Acceptor:
        self.served = listeners
        return Acceptor([], Place().table, Settings())


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> Keyed:
    made = Keyed()
    rdma = Rdma(made.listen, made.acceptor)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "load", lambda: rdma)
    return made


@contextlib.contextmanager
def listen(**settings: object) -> Iterator[Listening]:
    listening = Listening(Place().table, Settings(**{"address": HERE} | settings))  # type: ignore[arg-type]
    listening.start()
    try:
        yield listening
    finally:
        assert listening.stop(0, 0)


def is_free(address: str, port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == errno.ECONNREFUSED


def test_every_port_is_accepted_on() -> None:
    with listen(ports=(0, 0)) as listening:
        first, second = listening.ports
        assert listening.places == [f"{HERE}:{first} (tcp)", f"{HERE}:{second} (tcp)"]
        for port in (first, second):
            with socket.create_connection((HERE, port), 10) as peer:
                # What begins with this is no Connect: it is looked at, and closed.
                peer.sendall(b"GET / HTTP/1.1\r\n")
                assert peer.recv(1) == b""
    assert is_free(HERE, first)
    assert is_free(HERE, second)


def test_a_free_port_is_chosen_last() -> None:
    """So that it cannot be one that is named."""
    port = unused_port()
    with listen(ports=(0, port)) as listening:
        assert listening.ports[0] == port
        assert len(set(listening.ports)) == 2


def test_a_taken_port_leaves_nothing_open() -> None:
    free = unused_port()
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(VofError) as caught, listen(ports=(free, port)):
            pass
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value).startswith(f"cannot listen on {HERE} port {port}: Address already in")
    assert is_free(HERE, free)


def test_all_ports_are_those_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with several: the first that has all of them."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in (HERE, OTHER)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    free = unused_port()
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        with listen(address="both", ports=(free, port)) as listening:
            assert listening.places == [f"{OTHER}:{free} (tcp)", f"{OTHER}:{port} (tcp)"]
            assert is_free(HERE, free)
            with (
                pytest.raises(VofError, match=rf"both \({OTHER}\) port {port}: "),
                listen(address="both", ports=(port, free)),
            ):
                pass


def test_both_transports_have_the_same_ports(keyed: Keyed) -> None:
    with listen(transport="tcp,rdma", ports=(0, 0)) as listening:
        assert [item.port for item in keyed.served] == listening.ports
        assert [place.split(" ")[1] for place in listening.places] == ["(tcp)"] * 2 + ["(rdma)"] * 2


def test_rdma_alone_has_all_ports(keyed: Keyed) -> None:
    with listen(transport="rdma", ports=(0, 8549, 0)) as listening:
        assert listening.ports == [8549, 40001, 40002]
        assert [item.port for item in keyed.served] == listening.ports


def test_a_port_that_rdma_cannot_have_leaves_nothing_open(keyed: Keyed) -> None:
    one, two = unused_port(), unused_port()
    keyed.taken = two
    with pytest.raises(VofError, match="taken"), listen(transport="tcp,rdma", ports=(one, two)):
        pass
    assert [(item.port, item.closed) for item in keyed.listeners] == [(one, True)]
    assert is_free(HERE, one)
    assert is_free(HERE, two)
