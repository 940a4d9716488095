# SPDX-License-Identifier: BSD-3-Clause
"""What ``address`` in [target] means for RDMA."""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.target.rdma.addresses import choose, not_served, others_can_reach


def add(folder: Path, device: str, *gids: str) -> None:
    place = folder / device / "ports/1/gids"
    place.mkdir(parents=True)
    for number, gid in enumerate(gids):
        (place / str(number)).write_text(f"{gid}\n", encoding="ascii")


def mapped(address: str) -> str:
    return "0000:0000:0000:0000:0000:ffff:{:02x}{:02x}:{:02x}{:02x}".format(
        *map(int, address.split("."))
    )


LINK_LOCAL = "fe80:0000:0000:0000:5054:00ff:fe12:3456"
GLOBAL = "2001:0db8:0000:0000:0000:0000:0000:0007"
NONE = "0000:0000:0000:0000:0000:0000:0000:0000"


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    add(tmp_path, "rxe0", LINK_LOCAL, mapped("192.0.2.1"), mapped("192.0.2.1"), NONE)
    add(tmp_path, "mlx5_0", LINK_LOCAL, mapped("192.0.2.9"), GLOBAL)
    return tmp_path


def test_addresses_of_all_devices(devices: Path) -> None:
    found = [(str(item.address), item.device) for item in others_can_reach(devices)]
    assert found == [("192.0.2.9", "mlx5_0"), ("2001:db8::7", "mlx5_0"), ("192.0.2.1", "rxe0")]


def test_an_entry_that_is_no_address(devices: Path) -> None:
    (devices / "rxe0/ports/1/gids/5").write_bytes(b"\xff\n")
    (devices / "rxe0/ports/1/gids/6").write_text("nonsense\n", encoding="ascii")
    assert len(others_can_reach(devices)) == 3


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0", [["192.0.2.9"], ["192.0.2.1"]]),
        ("::", [["192.0.2.9"], ["2001:db8::7"], ["192.0.2.1"]]),
        # Whether it is served is for the listener to find out.
        ("192.0.2.1", [["192.0.2.1"]]),
        ("198.51.100.1", [["198.51.100.1"]]),
    ],
)
def test_where_to_listen(devices: Path, address: str, expected: list[list[str]]) -> None:
    assert choose(address, devices) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_addresses(devices: Path, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(address, devices)
    assert str(caught.value) == (
        f"no RDMA device serves the address {address}; set address in [target] to one that is "
        "served: 192.0.2.9 (mlx5_0), 2001:db8::7 (mlx5_0), 192.0.2.1 (rxe0)"
    )


def test_no_device(tmp_path: Path) -> None:
    words = "there is no RDMA device with an address; `rdma link add rxe0 type rxe netdev eth0`"
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match=r"cannot listen on 0.0.0.0 for RDMA: ") as caught:
            choose("0.0.0.0", folder)
        assert words in str(caught.value)
        assert words in not_served("192.0.2.1", folder)


def test_a_name_that_nobody_knows(devices: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot find the address 'no\.such\.host\.invalid'"):
        choose("no.such.host.invalid", devices)
