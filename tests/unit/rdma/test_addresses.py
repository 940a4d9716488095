# SPDX-License-Identifier: BSD-3-Clause
"""The addresses in the devices' tables, as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

from vof.rdma.addresses import devices, served_addresses

GIDS = {
    "mlx5_0": ["2001:0db8:0000:0000:0000:0000:0000:0007"],
    "rxe0": [
        "fe80:0000:0000:0000:0000:00ff:fe00:0001",
        "0000:0000:0000:0000:0000:ffff:0a28:0102",
        "0000:0000:0000:0000:0000:ffff:0a28:0102",
        "0000:0000:0000:0000:0000:0000:0000:0000",
        "an entry that is being changed",
    ],
}


def test_what_is_served_and_by_which(tmp_path: Path) -> None:
    for device, gids in GIDS.items():
        table = tmp_path / device / "ports/1/gids"
        table.mkdir(parents=True)
        for number, gid in enumerate(gids):
            (table / str(number)).write_text(f"{gid}\n")
    assert [(str(item.address), item.device) for item in served_addresses(tmp_path)] == [
        ("2001:db8::7", "mlx5_0"),
        ("fe80::ff:fe00:1", "rxe0"),
        ("10.40.1.2", "rxe0"),
    ]
    assert devices(tmp_path) == ["mlx5_0", "rxe0"]


def test_a_machine_without(tmp_path: Path) -> None:
    assert served_addresses(tmp_path / "none") == []
    assert devices(tmp_path / "none") == []
