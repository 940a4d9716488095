# SPDX-License-Identifier: BSD-3-Clause
"""What a user reads where there is no RDMA, or none that leads to the target: one line that says
which, and what to do."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vof.fabric.rdma
from vof.errors import ConfigError, ConnectError
from vof.fabric.destination import Destination
from vof.fabric.rdma import errors
from vof.fabric.rdma.connect import connect_rdma
from vof.fabric.rdma.errors import CmError, check_machine, explained
from vof.fabric.staggered import AllFailed
from vof.fabric.unreachable import Failure, unreachable
from vof.rdma import addresses

GIDS = (
    "0000:0000:0000:0000:0000:ffff:0a28:0102",
    "fe80:0000:0000:0000:0000:00ff:fe00:0001",
    "0000:0000:0000:0000:0000:0000:0000:0000",
)

Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretends that there is a device with these GIDs, and a connection manager."""
    devices, manager = tmp_path / "devices", tmp_path / "rdma_cm"
    monkeypatch.setattr(addresses, "DEVICES", devices)
    monkeypatch.setattr(errors, "_MANAGER", manager)

    def make(*gids: str, managed: bool = True) -> None:
        table = devices / "rxe0" / "ports" / "1" / "gids"
        table.mkdir(parents=True)
        for index, gid in enumerate(gids):
            (table / str(index)).write_text(f"{gid}\n")
        if managed:
            manager.touch()

    return make


def connect(taddr: str = "10.40.1.2", iaddr: str | None = None) -> None:
    connect_rdma(Destination(taddr, 15771, 1.0), iaddr, 0, None, 16)


def without_pyverbs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyverbs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyverbs", None)
    for name in ("cm", "link", "verbs"):
        monkeypatch.delitem(sys.modules, f"vof.fabric.rdma.{name}", raising=False)
        monkeypatch.delattr(vof.fabric.rdma, name, raising=False)


def test_without_pyverbs(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pyverbs(monkeypatch)
    with pytest.raises(ConfigError, match=r"needs pyverbs.*install the package python3-") as caught:
        connect()
    assert "\n" not in str(caught.value)


def test_loading_pyverbs_leaves_the_log_alone(machine: Machine) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with pytest.raises(ConnectError):
        connect()
    assert (root.level, list(root.handlers)) == before


def test_without_a_device(machine: Machine) -> None:
    with pytest.raises(ConnectError, match=r"no RDMA device; .*'rdma link add rxe0 type") as caught:
        connect()
    assert caught.value.errno == errno.ENODEV
    assert "\n" not in str(caught.value)


def test_without_a_connection_manager(machine: Machine) -> None:
    machine(*GIDS, managed=False)
    with pytest.raises(ConnectError, match=r"rdma_cm; load .* by 'modprobe rdma_ucm'") as caught:
        connect()
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(("key", "taddr", "iaddr"), [("taddr", "", None), ("iaddr", "::1", "")])
def test_a_name_that_does_not_resolve(
    machine: Machine, key: str, taddr: str, iaddr: str | None
) -> None:
    machine(*GIDS)
    bad = "no such host"
    with pytest.raises(ConnectError, match=f"cannot resolve {key}=no such host: .*; check"):
        connect(taddr or bad, None if iaddr is None else bad)


def test_a_machine_with_all_of_it(machine: Machine) -> None:
    machine(*GIDS)
    check_machine()


def words(
    error: OSError | None, *, source: str | None = None, port: int = 0, to: str = "10.9.9.9"
) -> str:
    found = explained(source, port, 15.0, to, error)
    if isinstance(found, Failure):
        said = AllFailed([error])
        found = unreachable(Destination(to, 15771, 1.0), said, lambda *_: found, " over RDMA")
    assert found.errno == (error.errno if error else errno.ETIMEDOUT)
    assert "\n" not in str(found)
    return str(found)


HERE = "10.40.1.2"
"""Not the link-local one."""


@pytest.mark.parametrize(
    ("step", "number", "text"),
    [
        (
            "address",
            errno.ENODEV,
            f"no RDMA device leads to 10.9.9.9; RDMA devices here have {HERE}",
        ),
        ("address", errno.ENETUNREACH, "no RDMA device leads to 10.9.9.9"),
        ("route", errno.EHOSTUNREACH, "no RDMA device leads to 10.9.9.9"),
        ("address", errno.ETIMEDOUT, "no answer within 15 s; is the target's host up, with RDMA?"),
        ("connection", errno.ETIMEDOUT, "no answer within 15 s"),
        ("connection", errno.ECONNREFUSED, "refused; is a target listening there with transport"),
        ("connection", errno.ECONNABORTED, "Software caused connection abort"),
    ],
)
def test_why_a_target_cannot_be_reached(
    machine: Machine, step: str, number: int, text: str
) -> None:
    machine(*GIDS)
    found = words(CmError(step, number))
    assert found.startswith(f"cannot connect to 10.9.9.9:15771 over RDMA: {text}")


def test_loopback(machine: Machine) -> None:
    """The kernel takes the first device for it, on which nobody listens at that address."""
    machine(*GIDS)
    found = words(CmError("connection", errno.ECONNREFUSED), to="127.0.0.1")
    assert found.endswith(
        f"127.0.0.1 is no address of an RDMA device; RDMA devices here have {HERE}"
    )


def test_devices_without_an_address(machine: Machine) -> None:
    machine(GIDS[2])
    assert words(CmError("address", errno.ENODEV)).endswith("RDMA devices here have no address")


def test_what_the_machine_says_itself(machine: Machine) -> None:
    machine(*GIDS)
    found = words(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert found == "cannot connect to 10.9.9.9:15771 over RDMA: Cannot allocate memory"


class TestLocalEnd:
    def test_of_no_device(self, machine: Machine) -> None:
        machine(*GIDS)
        found = words(CmError("address", errno.EADDRNOTAVAIL), source="10.1.1.1", port=5)
        assert found == (
            "cannot use iaddr=10.1.1.1 iport=5: no RDMA device has this address; "
            f"RDMA devices here have {HERE}"
        )

    def test_in_use(self, machine: Machine) -> None:
        machine(*GIDS)
        found = words(CmError("address", errno.EADDRINUSE), port=7000)
        assert found == "cannot use iport=7000 as the local end: Address already in use"

    def test_that_does_not_lead_to_the_target(self, machine: Machine) -> None:
        machine(*GIDS)
        found = words(CmError("address", errno.ENODEV), source="10.40.1.2")
        assert "no RDMA device leads to 10.9.9.9" in found
