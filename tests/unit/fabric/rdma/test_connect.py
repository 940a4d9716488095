# SPDX-License-Identifier: BSD-3-Clause
"""The addresses of a name over RDMA: tried in turn, and what did not win given back."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from tests.support.loopback import unused_port
from vof.errors import ConnectError
from vof.fabric import staggered
from vof.fabric.destination import Destination
from vof.fabric.rdma import connect
from vof.fabric.rdma.errors import CmError
from vof.fabric.staggered import Attempt, Wait

cm = pytest.importorskip("vof.fabric.rdma.cm")
links = pytest.importorskip("vof.fabric.rdma.link")
verbs = pytest.importorskip("vof.fabric.rdma.verbs")

SILENT, LATE, REFUSED, LIVE = "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"


class Machine:
    """Stands in for managers, domains and links; ``open`` are those that nobody has closed."""

    def __init__(self) -> None:
        self.nothing = os.eventfd(0)
        self.open: set[object] = set()
        self.asked: list[str] = []

    def manager(self) -> Manager:
        return Manager(self)

    def domain(self, device: str) -> Domain:
        return Domain(self, device)

    def link(self, domain: Domain, manager: Manager, _commands: int) -> Link:
        return Link(self, domain, manager)


class Thing:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.open.add(self)

    def let_go(self) -> None:
        self.machine.open.discard(self)


class Manager(Thing):
    device = "rxe0"
    address = ""

    def resolve(self, address: str, *_more: object) -> Attempt[None]:
        self.address = address
        self.machine.asked.append(address)
        if address == SILENT:
            yield Wait(self.machine.nothing, select.POLLIN)
        if address == REFUSED:
            raise CmError("connection", errno.ECONNREFUSED)


class Domain(Thing):
    def __init__(self, machine: Machine, device: str) -> None:
        super().__init__(machine)
        self.device = device


class Link(Thing):
    def __init__(self, machine: Machine, domain: Domain, manager: Manager) -> None:
        super().__init__(machine)
        self.domain, self.manager = domain, manager

    def establish(self, _deadline: float) -> Attempt[None]:
        if self.manager.address == LATE:
            yield Wait(self.machine.nothing, select.POLLIN)

    def close(self) -> None:
        for each in (self, self.manager, self.domain):
            each.let_go()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(cm, "ConnectionManager", machine.manager)
    monkeypatch.setattr(verbs, "Domain", machine.domain)
    monkeypatch.setattr(links, "RdmaLink", machine.link)
    monkeypatch.setattr(connect, "check_machine", lambda: None)
    monkeypatch.setattr(staggered, "ATTEMPT_DELAY", 0.01)
    yield machine
    os.close(machine.nothing)


def destination(
    monkeypatch: pytest.MonkeyPatch, *addresses: str, seconds: float = 20
) -> Destination:
    port = unused_port()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_names, **_more: found)
    return Destination("stor", port, seconds)


def test_the_first_that_connects(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    to = destination(monkeypatch, SILENT, LATE, REFUSED, LIVE)
    link, domain = connect.connect_rdma(to, None, 0, None, 16)
    assert machine.asked == [SILENT, LATE, REFUSED, LIVE]
    assert isinstance(link, Link)
    assert machine.open == {link, domain, link.manager}
    # The association's other connections go there, and to the same domain.
    other, same = connect.connect_rdma(to, None, 0, domain, 16)
    assert machine.asked[4:] == [LIVE]
    assert same is domain
    assert isinstance(other, Link)
    assert machine.open == {link, link.manager, other, other.manager, domain}


def test_none_that_connects(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    to = destination(monkeypatch, SILENT, LATE, REFUSED, seconds=0.1)
    with pytest.raises(ConnectError) as caught:
        connect.connect_rdma(to, None, 0, None, 16)
    assert str(caught.value) == (
        f"cannot connect to {to.where} over RDMA: {SILENT}, {LATE}: no answer within 0.1 s; "
        f"{REFUSED}: refused; is a target listening there with transport rdma?"
    )
    assert not machine.open


def test_an_address_that_another_device_leads_to(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Domain(machine, "rxe1")
    with pytest.raises(ConnectError, match=r"device rxe0 now, and by rxe1 before; name one"):
        connect.connect_rdma(destination(monkeypatch, LIVE), None, 0, other, 16)  # type: ignore[arg-type]
    assert machine.open == {other}


def test_what_the_connection_manager_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step waits for its event, and no longer than it has."""
    manager = cm.ConnectionManager.__new__(cm.ConnectionManager)
    events: list[int | None] = []
    manager.fd = 7
    monkeypatch.setattr(manager, "_next", lambda: events.pop(0), raising=False)
    wanted, refused = cm.ce.RDMA_CM_EVENT_CONNECT_RESPONSE, cm.ce.RDMA_CM_EVENT_REJECTED
    far = 1e12
    events[:] = [None, wanted]
    assert [wait.fd for wait in manager._await("connection", wanted, far)] == [7]
    events[:] = [None, refused]
    step = manager._await("connection", wanted, far)
    assert next(step) == Wait(7, select.POLLIN, far)
    with pytest.raises(CmError) as caught:
        next(step)
    assert caught.value.errno == errno.ECONNREFUSED
    events[:] = [None]
    with pytest.raises(CmError) as caught:
        next(manager._await("connection", wanted, 0.0))
    assert caught.value.errno == errno.ETIMEDOUT
