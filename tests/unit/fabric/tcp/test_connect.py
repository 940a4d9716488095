# SPDX-License-Identifier: BSD-3-Clause
"""How connections are made: addresses tried in turn, local end, options, and one clear error."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.loopback import nothing_left_open, unused_port
from tests.support.shortage import no_descriptors
from vof.errors import ConfigError, ConnectError
from vof.fabric import staggered
from vof.fabric.deadline import Deadline
from vof.fabric.destination import Address, Destination, interleaved
from vof.fabric.staggered import Attempt, Wait, first_of
from vof.fabric.tcp.connect import connect_tcp

SILENT, LIVE, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@contextmanager
def listening(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listener:
        port = listener.getsockname()[1]
        yield port


@contextmanager
def connected(
    taddr: str, tport: int, iaddr: str | None = None, iport: int = 0
) -> Iterator[socket.socket]:
    with connect_tcp(Destination(taddr, tport, 5.0), iaddr, iport) as sock:
        yield sock


def refused(
    taddr: str, tport: int, iaddr: str | None = None, iport: int = 0, seconds: float = 5.0
) -> ConnectError:
    """Return why there is no connection."""
    with nothing_left_open(), pytest.raises(ConnectError) as caught:
        connect_tcp(Destination(taddr, tport, seconds), iaddr, iport)
    assert "\n" not in str(caught.value)
    return caught.value


@contextmanager
def silent(port: int = 0, address: str = SILENT) -> Iterator[int]:
    """Let further connections to ``address`` wait for ever: the queue of a listener is full."""
    with (
        socket.create_server((address, port), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        yield listener.getsockname()[1]


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
        with listening() as port:
            error = refused("127.0.0.1", port, "192.0.2.1")
        assert str(error).startswith("cannot use iaddr=192.0.2.1 iport=0 as the local end: Cannot")

    def test_that_does_not_resolve(self) -> None:
        with listening() as port:
            error = refused("127.0.0.1", port, "no.such.invalid")
        assert str(error).startswith("cannot resolve iaddr=no.such.invalid: ")

    def test_of_another_family(self) -> None:
        with listening() as port:
            error = refused("127.0.0.1", port, "::1")
        assert str(error).endswith("as the local end: the target has no address of its kind")

    def test_whose_port_is_taken(self) -> None:
        with listening() as port, listening() as taken:
            error = refused("127.0.0.1", port, None, taken)
        assert f"iport={taken} as the local end: Address already" in str(error)


class TestSeveralAddresses:
    def test_one_that_is_silent_costs_a_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 0.01)
        resolving_to(monkeypatch, "stor", SILENT, LIVE)
        with listening(LIVE) as port, silent(port), connected("stor", port) as sock:
            assert sock.getpeername()[0] == LIVE

    def test_what_won_holds_for_the_next_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two addresses may be two machines."""
        resolving_to(monkeypatch, "stor", SILENT, LIVE)
        port = unused_port()
        destination = Destination("stor", port, 5.0)
        with listening(LIVE, port), connect_tcp(destination, None, 0) as sock:
            assert sock.getpeername()[0] == LIVE
        with listening(SILENT, port), pytest.raises(ConnectError, match=f"{LIVE}: Connection ref"):
            connect_tcp(destination, None, 0)

    def test_a_refusal_has_the_next_one_tried_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 60.0)
        resolving_to(monkeypatch, "stor", OTHER, LIVE)
        with listening(LIVE) as port, connected("stor", port) as sock:
            assert sock.getpeername()[0] == LIVE

    def test_a_slow_one_may_still_win(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What begins later does not end what began before, and is closed when that wins."""
        monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 0.01)
        wake, nothing = os.eventfd(0), os.eventfd(0)
        closed = []

        def slow() -> Attempt[str]:
            yield Wait(wake, select.POLLIN)
            return "slow"

        def never() -> Attempt[str]:
            os.eventfd_write(wake, 1)
            try:
                yield Wait(nothing, select.POLLIN)
            finally:
                closed.append("never")
            return "never"

        assert first_of([slow, never], Deadline(20.0, "it")) == (0, "slow")
        assert closed == ["never"]
        os.close(wake)
        os.close(nothing)

    def test_all_are_named_with_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 0.01)
        resolving_to(monkeypatch, "stor", SILENT, LIVE, OTHER)
        with silent() as port:
            error = refused("stor", port, seconds=0.3)
        assert str(error) == (
            f"cannot connect to stor:{port}: {SILENT}: no answer within 0.3 s; "
            f"{LIVE}, {OTHER}: Connection refused; is a target listening there?"
        )
        assert error.errno == errno.ECONNREFUSED

    def test_the_message_is_short_however_many_there_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving_to(monkeypatch, "stor", *(f"127.0.1.{number}" for number in range(1, 31)))
        error = str(refused("stor", unused_port()))
        assert "127.0.1.8: Connection refused; 22 more addresses failed too; is a target" in error
        assert "127.0.1.9" not in error

    @pytest.mark.parametrize(
        ("order", "tried"), [("4466", "4646"), ("664", "646"), ("44", "44"), ("6644", "6464")]
    )
    def test_families_take_turns(self, order: str, tried: str) -> None:
        families = {"4": socket.AF_INET, "6": socket.AF_INET6}
        found = [Address(families[kind], (str(place), 1)) for place, kind in enumerate(order)]
        chosen = interleaved([*found, found[0]])
        assert [item.family for item in chosen] == [families[kind] for kind in tried]
        assert set(chosen) == set(found)

    def test_an_interruption_leaves_nothing_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 0.01)
        resolving_to(monkeypatch, "stor", SILENT, LIVE)
        with silent() as port, silent(port, LIVE), nothing_left_open():
            poll = staggered._wait
            waits: list[int] = []

            def interrupted(*args: Any) -> list[int]:
                waits.append(len(args[0]))
                if waits[-1] == 2:
                    raise KeyboardInterrupt
                return poll(*args)

            monkeypatch.setattr(staggered, "_wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                connect_tcp(Destination("stor", port, 60.0), None, 0)


class TestFailure:
    def test_nothing_listens(self) -> None:
        port = unused_port()
        error = refused("127.0.0.1", port)
        assert str(error) == (
            f"cannot connect to 127.0.0.1:{port}: Connection refused; is a target listening there?"
        )
        assert error.errno == errno.ECONNREFUSED

    def test_an_ipv6_address_is_written_in_brackets(self) -> None:
        assert "cannot connect to [::1]:" in str(refused("::1", unused_port()))

    @pytest.mark.parametrize("name", ["no.such.host.invalid", "x" * 70 + ".invalid", "a..b"])
    def test_name_that_does_not_resolve(self, name: str) -> None:
        error = str(refused(name, 1))
        assert re.fullmatch(f"cannot resolve taddr={name}: [A-Zn].*; (check|is the name).*", error)

    def test_a_name_server_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = threading.Event()

        def resolver(*_args: object, flags: int = 0, **_more: object) -> object:
            if not flags:
                answer.wait()
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        with pytest.raises(ConnectError, match=r"taddr=stor: no answer within 0\.1 s; is the name"):
            connect_tcp(Destination("stor", 1, 0.1), None, 0)
        answer.set()
        for thread in threading.enumerate():
            if thread.name == "vof-resolve":
                thread.join()

    def test_a_refusal_says_more_than_a_local_end_of_another_family(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving_to(monkeypatch, "twofold", "127.0.0.1", "::1")
        assert "Connection refused" in str(refused("twofold", unused_port(), "127.0.0.9"))

    def test_no_answer(self) -> None:
        with silent() as port:
            error = refused(SILENT, port, seconds=0.2)
        assert "no answer within 0.2 s; is the target's host up?" in str(error)
        assert error.errno == errno.ETIMEDOUT

    @pytest.mark.parametrize("address", ["fe80::1", "fe80::1%none"])
    def test_an_interface_that_is_wanted_or_wrong(self, address: str) -> None:
        with pytest.raises(ConfigError, match=r"interface.* lo$"):
            connect_tcp(Destination(address, 1, 5.0), None, 0)

    def test_no_descriptors(self) -> None:
        """It is not the target's fault, nor the name server's."""
        for name in ("127.0.0.1", "localhost"):
            with no_descriptors(), pytest.raises(ConnectError, match=r"too few file descr.*ulimit"):
                connect_tcp(Destination(name, 1, 5.0), None, 0)


class TestDeadline:
    def test_tells_tenths(self) -> None:
        assert Deadline(0.25, "it").left() == 0.3

    def test_that_has_passed(self) -> None:
        with pytest.raises(ConnectError, match=r"it was not open within 0 s; is the network"):
            Deadline(0.0, "it").left()
