# SPDX-License-Identifier: BSD-3-Clause
"""Each flag and size an NBD client is told, one by one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import nbd
import pytest

from tests.nbd.conftest import DISK_SIZE, LARGE_BLOCKS, READ_ONLY, Served, nbdkit_for
from tests.nbd.nbdkit_process import Nbdkit
from tests.support.protocol_numbers import (
    EVERYTHING,
    F_DISCARD,
    F_FLUSH,
    F_RO,
    F_WRITE_ZEROES,
    OUT,
    block_config,
)
from tests.support.scripted_target import Device, ScriptedTarget

pytestmark = pytest.mark.nbdkit

Flag = Callable[[Any], bool]


def flag_of(name: str) -> Flag:
    return getattr(nbd.NBD, name)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("flag", "feature"),
    [("can_trim", F_DISCARD), ("can_zero", F_WRITE_ZEROES), ("can_fast_zero", F_WRITE_ZEROES)],
)  # fmt: skip
@pytest.mark.parametrize("offered", [True, False])
def test_flag_that_depends_on_a_feature(flag: str, feature: int, offered: bool) -> None:
    """nbdkit itself writes zeroes as data where the device cannot; that is not fast."""
    features = EVERYTHING if offered else EVERYTHING & ~feature
    with (
        ScriptedTarget(Device(features=features)) as target,
        nbdkit_for(target) as nbdkit,
        nbdkit.client() as client,
    ):
        assert flag_of(flag)(client) is (offered or flag == "can_zero")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("can_fua", True),
        ("can_cache", True),
        ("can_multi_conn", True),
        ("is_rotational", False),
        ("is_read_only", False),
        ("can_flush", True),
        ("can_trim", True),
        ("can_zero", True),
        ("can_fast_zero", True),
    ],
)
def test_flag_of_an_ordinary_disk(disk: Nbdkit, flag: str, expected: bool) -> None:
    with disk.client() as client:
        assert flag_of(flag)(client) is expected


def test_flush_without_a_write_cache(scripted: ScriptedTarget) -> None:
    """A device without FLUSH has every completed write on its medium."""
    scripted.device.features = EVERYTHING & ~F_FLUSH
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        assert client.can_fua()
        assert client.can_flush()
        client.pwrite(b"x" * 512, 0, nbd.CMD_FLAG_FUA)
        client.flush()
        copied = subprocess.run(
            ["nbdcopy", "--flush", "-", nbdkit.uri],
            input=b"y" * 512,
            capture_output=True,
            check=False,
        )
        assert (copied.returncode, copied.stderr) == (0, b"")
    assert scripted.device.disk[:512] == b"y" * 512
    assert {command.request[0] for command in scripted.requests()} == {OUT}


def test_read_only_device(served: Served) -> None:
    with served.nbdkit(READ_ONLY) as nbdkit, nbdkit.client() as client:
        assert client.is_read_only()
        assert client.pread(512, 0) == bytes(512)
        client.set_strict_mode(client.get_strict_mode() & ~nbd.STRICT_COMMANDS)
        with pytest.raises(nbd.Error) as caught:
            client.pwrite(b"x" * 512, 0)
        assert caught.value.errno == "EPERM"


def test_read_only_feature(scripted: ScriptedTarget) -> None:
    scripted.device.features = EVERYTHING | F_RO
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        assert client.is_read_only()


def test_size(served: Served, disk: Nbdkit) -> None:
    with disk.client() as client:
        assert client.get_size() == DISK_SIZE
    with served.nbdkit(LARGE_BLOCKS) as nbdkit, nbdkit.client() as client:
        assert client.get_size() == 1 << 20


@pytest.mark.parametrize("sectors", [0, 1, (1 << 54) - 1])
def test_size_at_its_limits(scripted: ScriptedTarget, sectors: int) -> None:
    scripted.device.config = block_config(capacity=sectors)
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        assert client.get_size() == sectors * 512


def sizes(client: Any) -> tuple[int, int, int]:
    return (
        client.get_block_size(nbd.SIZE_MINIMUM),
        client.get_block_size(nbd.SIZE_PREFERRED),
        client.get_block_size(nbd.SIZE_MAXIMUM),
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # maximum: 30 segments of 64 KiB, in whole preferred blocks
        ({"blk_size": 512, "physical_exp": 0}, (1, 4096, 30 << 16)),
        ({"blk_size": 512, "physical_exp": 5}, (1, 16384, 30 << 16)),
        ({"blk_size": 4096, "physical_exp": 0}, (1, 4096, 30 << 16)),
        ({"blk_size": 65536, "physical_exp": 0}, (1, 65536, 30 << 16)),
        ({"size_max": 512, "seg_max": 1}, (1, 4096, 4096)),
    ],
)
def test_block_sizes(
    scripted: ScriptedTarget, config: dict[str, int], expected: tuple[int, int, int]
) -> None:
    scripted.device.config = block_config(**config)  # type: ignore[arg-type]
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        assert sizes(client) == expected


def test_nbdinfo(disk: Nbdkit) -> None:
    """What another program of the NBD world reads."""
    found = subprocess.run(["nbdinfo", "--json", disk.uri], capture_output=True, check=True)
    [export] = json.loads(found.stdout)["exports"]
    wanted = {
        "export-size": DISK_SIZE,
        "is_rotational": False,
        "is_read_only": False,
        "can_fua": True,
        "can_flush": True,
        "can_multi_conn": True,
        "can_trim": True,
        "can_zero": True,
        "block_size_preferred": 4096,
    }
    assert {key: export[key] for key in wanted} == wanted


class TestExports:
    def test_the_device_of_tvqn_is_listed(self, served: Served, disk: Nbdkit) -> None:
        found = self.list_exports(disk)
        assert found == [("", f"nbd/disk at 127.0.0.1:{served.port}")]

    def test_without_tvqn_there_is_nothing_to_list(self, served: Served) -> None:
        with served.nbdkit() as nbdkit:
            assert self.list_exports(nbdkit) == []

    def test_names_are_tvqns(self, served: Served) -> None:
        with served.nbdkit() as nbdkit:
            with nbdkit.client("nbd/disk") as one, nbdkit.client(READ_ONLY) as two:
                assert one.get_size() == DISK_SIZE
                assert two.is_read_only()
                assert not one.is_read_only()

    def test_with_tvqn_any_name_means_that_device(self, disk: Nbdkit) -> None:
        with disk.client("anything") as client:
            assert client.get_size() == DISK_SIZE

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("nbd/none", "has no device 'nbd/none'"),
            ("", "without tvqn= the NBD export name is the tvqn"),
            ("x" * 256, "the NBD export name is 256 bytes long; at most 255 are allowed"),
        ],
    )
    def test_unknown_name(self, served: Served, name: str, text: str) -> None:
        with served.nbdkit() as nbdkit:
            with pytest.raises(nbd.Error):
                nbdkit.connect(name)
            assert text in nbdkit.log
            assert "Traceback" not in nbdkit.log
            with nbdkit.client("nbd/disk") as client:  # it serves on
                assert client.get_size() == DISK_SIZE

    @staticmethod
    def list_exports(nbdkit: Nbdkit) -> list[tuple[str, str]]:
        client = nbd.NBD()
        client.set_opt_mode(True)
        client.connect_unix(str(nbdkit.socket))
        found: list[tuple[str, str]] = []

        def note(name: str, description: str) -> int:
            found.append((name, description))
            return 0

        client.opt_list(note)
        client.opt_abort()
        return found


def test_every_flag_of_libnbd_has_a_test() -> None:
    """A flag that a later libnbd brings shall not go unnoticed."""
    flags = {name for name in dir(nbd.NBD) if name.startswith(("can_", "is_r"))}
    assert flags == {
        "can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_meta_context",
        "can_multi_conn", "can_trim", "can_zero", "is_read_only", "is_rotational",
    }  # fmt: skip
