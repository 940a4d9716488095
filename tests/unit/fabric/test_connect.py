# SPDX-License-Identifier: BSD-3-Clause
"""How a connection is made: addresses, local end, options, and one clear error."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.loopback import unused_port
from vof.errors import ConnectError
from vof.fabric.connect import connect_tcp

Resolver = Callable[..., object]


@contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port: int = listener.getsockname()[1]
        yield port


@contextmanager
def connected(
    taddr: str, tport: int, iaddr: str | None = None, iport: int = 0
) -> Iterator[socket.socket]:
    with connect_tcp(taddr, tport, iaddr, iport, 5.0) as sock:
        yield sock


def resolving_to(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    """Let ``name`` resolve to ``addresses`` in this order, and everything else as usual."""
    resolve = socket.getaddrinfo

    def resolver(host: str, *args: object, **kwargs: object) -> object:
        if host != name:
            return resolve(host, *args, **kwargs)  # type: ignore[arg-type]
        found = []
        for address in addresses:
            found += resolve(address, *args, **kwargs)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolver)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_numeric_addresses(address: str) -> None:
    with listening(address) as port, connected(address, port) as sock:
        assert sock.getpeername()[:2] == (address, port)


def test_host_name() -> None:
    with listening() as port, connected("localhost", port) as sock:
        assert sock.getpeername()[1] == port


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "twofold", "::1", "127.0.0.1")
    with listening("127.0.0.1") as port, connected("twofold", port) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_a_family_the_kernel_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "twofold", "::1", "127.0.0.1")
    make = socket.socket

    def without_ipv6(family: int = -1, *args: int, **kwargs: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return make(family, *args, **kwargs)

    with listening() as port:
        monkeypatch.setattr(socket, "socket", without_ipv6)
        with connected("twofold", port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


def test_socket_options() -> None:
    with listening() as port, connected("127.0.0.1", port) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        assert sock.gettimeout() is None


class TestLocalEnd:
    def test_address(self) -> None:
        with listening() as port, connected("127.0.0.1", port, "127.0.0.9") as sock:
            assert sock.getsockname()[0] == "127.0.0.9"

    def test_port(self) -> None:
        mine = unused_port()
        with listening() as port, connected("127.0.0.1", port, None, mine) as sock:
            assert sock.getsockname()[1] == mine

    def test_both_in_ipv6(self) -> None:
        mine = unused_port()
        with listening("::1") as port, connected("::1", port, "::1", mine) as sock:
            assert sock.getsockname()[:2] == ("::1", mine)

    def test_of_the_family_of_a_later_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving_to(monkeypatch, "twofold", "::1", "127.0.0.1")
        with listening() as port, connected("twofold", port, "127.0.0.9") as sock:
            assert sock.getsockname()[0] == "127.0.0.9"

    def test_that_is_not_ours(self) -> None:
        with (
            listening() as port,
            pytest.raises(ConnectError, match=r"cannot use iaddr=192\.0\.2\.1 .* as the local end"),
        ):
            connect_tcp("127.0.0.1", port, "192.0.2.1", 0, 5.0)

    def test_that_does_not_resolve(self) -> None:
        with (
            listening() as port,
            pytest.raises(ConnectError, match=r"cannot use iaddr=no\.such\.invalid"),
        ):
            connect_tcp("127.0.0.1", port, "no.such.invalid", 0, 5.0)

    def test_whose_port_is_taken(self) -> None:
        with (
            listening() as port,
            listening() as taken,
            pytest.raises(ConnectError, match=f"iport={taken} as the local end: Address already"),
        ):
            connect_tcp("127.0.0.1", port, None, taken, 5.0)


class TestFailure:
    def test_nothing_listens(self) -> None:
        port = unused_port()
        with pytest.raises(ConnectError) as caught:
            connect_tcp("127.0.0.1", port, None, 0, 5.0)
        assert str(caught.value) == (
            f"cannot connect to 127.0.0.1:{port}: Connection refused; is a target listening there?"
        )
        assert caught.value.errno == errno.ECONNREFUSED

    def test_an_ipv6_address_is_written_in_brackets(self) -> None:
        with pytest.raises(ConnectError, match=r"cannot connect to \[::1\]:"):
            connect_tcp("::1", unused_port(), None, 0, 5.0)

    @pytest.mark.parametrize("name", ["no.such.host.invalid", "x" * 70 + ".invalid", "a..b"])
    def test_name_that_does_not_resolve(self, name: str) -> None:
        with pytest.raises(ConnectError, match=f"cannot resolve taddr={name}: .*; check the addr"):
            connect_tcp(name, 1, None, 0, 5.0)

    def test_a_refusal_says_more_than_a_local_end_of_another_family(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving_to(monkeypatch, "twofold", "127.0.0.1", "::1")
        with pytest.raises(ConnectError, match="Connection refused"):
            connect_tcp("twofold", unused_port(), "127.0.0.9", 0, 5.0)

    def test_no_answer(self) -> None:
        """A listener whose queue is full lets further connections wait."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            port = listener.getsockname()[1]
            with (
                connected("127.0.0.1", port),
                pytest.raises(ConnectError, match=r"no answer within 0\.2 s; is the") as caught,
            ):
                connect_tcp("127.0.0.1", port, None, 0, 0.2)
        assert caught.value.errno == errno.ETIMEDOUT
