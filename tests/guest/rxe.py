# SPDX-License-Identifier: BSD-3-Clause
"""RDMA in software for scenarios: rxe on one interface, and on two that a cable joins.

The two would be best kept apart in two network namespaces. rxe of Linux 6.1 does not do that: it
makes the UDP socket it receives with in the initial namespace only, so a device in another one can
be opened and resolved, and never gets a packet. Therefore both stay in the initial namespace, each
joined by veth to a switch in a namespace of its own, and rules of routing send what is meant for
either address out by the other interface, where Linux alone would have kept it: RDMA and TCP alike
cross the switch. Whoever listens on FAR is reached by connecting to FAR, without more.

A cable is pulled at the switch, and not by taking NEAR or FAR down. An interface that is down has
no routes, so that rxe cannot send at all; and when that befalls the connection manager, the queue
pair that rxe has for its messages breaks: that device connects nobody until it is made anew.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.guest.steps import run, wait_until


@dataclass(frozen=True)
class Port:
    """An interface with an RDMA device on it."""

    interface: str
    device: str
    address: str

    def counter(self, name: str) -> int:
        """What the device has counted since it exists, such as `send_rnr_err` or `rdma_sends`."""
        folder = Path("/sys/class/infiniband", self.device, "ports/1/hw_counters")
        return int((folder / name).read_text(encoding="ascii"))

    def packets(self) -> int:
        """What the interface has received, of any protocol."""
        path = Path("/sys/class/net", self.interface, "statistics/rx_packets")
        return int(path.read_text(encoding="ascii"))


ALONE = Port("alone", "rxe0", "10.40.0.1")
"""Whose both ends are one device: nothing but the device is between target and initiator."""
NEAR = Port("near", "rxe1", "10.40.1.1")
FAR = Port("far", "rxe2", "10.40.1.2")
"""What NEAR and FAR send each other crosses a switch."""
UNSERVED = "10.40.2.1"
"""An address of this machine on which there is no RDMA device."""

_WIRE = ((NEAR, FAR, "41"), (FAR, NEAR, "42"))
_SWITCH = "switch"
_BACKLOG = 100_000
"""Packets that may wait behind an interface. A read of 1 MiB is answered by 1,024 at once, and the
usual limit is 1,000: each packet lost costs the whole time after which a device sends again."""


def load() -> None:
    run("modprobe", "--all", "rdma_rxe", "rdma_ucm", "ib_uverbs", "dummy", "veth", "sch_netem")
    wait_until("the connection manager", Path("/dev/infiniband/rdma_cm").is_char_device)


def set_up_alone() -> None:
    _add_dummy(ALONE.interface, ALONE.address)
    _add_device(ALONE)


def set_up_spare(port: Port) -> None:
    """A device beside the others, for who takes it away again."""
    _add_dummy(port.interface, port.address)
    _add_device(port)


def set_up_unserved() -> None:
    _add_dummy("unserved", UNSERVED)


def set_up_wire() -> None:
    run("ip", "netns", "add", _SWITCH)
    run("ip", "-n", _SWITCH, "link", "add", _SWITCH, "type", "bridge")
    run("ip", "-n", _SWITCH, "link", "set", _SWITCH, "up")
    _write("net/core/netdev_max_backlog", _BACKLOG)
    _write("net/ipv4/conf/all/rp_filter", 0)
    for end, _, _ in _WIRE:
        plug = ("peer", "name", end.interface, "netns", _SWITCH)
        run("ip", "link", "add", end.interface, "type", "veth", *plug)
        run("ip", "-n", _SWITCH, "link", "set", end.interface, "master", _SWITCH, "up")
        # Each gets packets that come from an address of this machine.
        _write(f"net/ipv4/conf/{end.interface}/rp_filter", 0)
        _write(f"net/ipv4/conf/{end.interface}/accept_local", 1)
        run("ip", "address", "add", f"{end.address}/24", "dev", end.interface)
        run("ip", "link", "set", end.interface, "up")
    for end, other, table in _WIRE:
        route = (other.address, "dev", end.interface, "src", end.address)
        run("ip", "route", "add", *route, "table", table)
        # "iif lo" is what this machine sends itself; what arrives is looked up as always.
        run("ip", "rule", "add", "pref", "10", "iif", "lo", "to", other.address, "lookup", table)
    run("ip", "rule", "add", "pref", "20", "lookup", "local")
    run("ip", "rule", "delete", "pref", "0")
    for end, _, _ in _WIRE:
        _add_device(end)


def links() -> dict[str, str]:
    """The state of every RDMA device's port."""
    found = json.loads(run("rdma", "--json", "link"))
    return {link["ifname"]: link["state"] for link in found}


def cut() -> None:
    """Pull the cable of NEAR: it loses its carrier, FAR does not, and nothing gets through."""
    run("ip", "-n", _SWITCH, "link", "set", NEAR.interface, "down")
    wait_until("NEAR to notice", lambda: links()[NEAR.device] != "ACTIVE")


def mend() -> None:
    """Plug it in again. Also right when it is."""
    run("ip", "-n", _SWITCH, "link", "set", NEAR.interface, "up")
    wait_until("the wire", lambda: links()[NEAR.device] == "ACTIVE")


def delay(seconds: float) -> None:
    """Have every packet take so long to the switch and beyond it, in either direction."""
    for end, _, _ in _WIRE:
        run(
            *("tc", "-netns", _SWITCH, "qdisc", "replace", "dev", end.interface, "root"),
            *("netem", "limit", str(_BACKLOG), "delay", f"{round(seconds * 1e6)}us"),
        )


def _add_dummy(interface: str, address: str) -> None:
    run("ip", "link", "add", interface, "type", "dummy")
    run("ip", "address", "add", f"{address}/24", "dev", interface)
    run("ip", "link", "set", interface, "up")


def _add_device(port: Port) -> None:
    run("rdma", "link", "add", port.device, "type", "rxe", "netdev", port.interface)
    wait_until(port.device, lambda: links().get(port.device) == "ACTIVE")


def _write(name: str, value: int) -> None:
    Path("/proc/sys", name).write_text(f"{value}\n", encoding="ascii")
