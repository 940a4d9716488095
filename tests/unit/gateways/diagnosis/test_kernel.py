# SPDX-License-Identifier: BSD-3-Clause
"""What is said of a kernel with and without nbd, FUSE and RDMA."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.unit.gateways.diagnosis.machines import RELEASE, SOUND, machine
from vof.gateways.diagnosis.finding import Status
from vof.gateways.diagnosis.kernel import Module, check_fuse, check_nbd, check_rdma, module

MODULES = f"/lib/modules/{RELEASE}"


class TestModules:
    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ({}, Module.NOT_THERE),
            ({"/sys/module/nbd/refcnt": "0"}, Module.LOADED),
            ({f"{MODULES}/modules.builtin": "kernel/drivers/block/nbd.ko\n"}, Module.LOADED),
            ({f"{MODULES}/modules.dep": "kernel/drivers/block/nbd.ko:\n"}, Module.THERE),
            ({f"{MODULES}/modules.dep": "kernel/drivers/block/nbd.ko.xz: a.ko\n"}, Module.THERE),
            ({f"{MODULES}/modules.dep": "kernel/a.ko: kernel/nbd.ko\n"}, Module.NOT_THERE),
            ({f"{MODULES}/modules.dep": "kernel/xnbd.ko:\n"}, Module.NOT_THERE),
            ({"/lib/modules/another/modules.dep": "kernel/nbd.ko:\n"}, Module.NOT_THERE),
        ],
    )
    def test_where_one_is(self, tmp_path: Path, files: dict[str, str], expected: Module) -> None:
        assert module(machine(tmp_path, files), "nbd") is expected


class TestNbd:
    def test_it_is_there(self, tmp_path: Path) -> None:
        found = check_nbd(machine(tmp_path, SOUND), needed=True)
        assert (found.status, found.text, found.fix) == (
            Status.OK,
            "the kernel has 2 nbd devices",
            None,
        )

    @pytest.mark.parametrize("is_root", [True, False])
    def test_it_can_be_loaded(self, tmp_path: Path, is_root: bool) -> None:
        host = machine(tmp_path, {f"{MODULES}/modules.dep": "a/nbd.ko:"}, is_root=is_root)
        found = check_nbd(host, needed=True)
        assert found.status is (Status.OK if is_root else Status.WRONG)
        assert found.fix == (None if is_root else "as root: modprobe nbd")

    @pytest.mark.parametrize("needed", [True, False])
    def test_it_is_not_there(self, tmp_path: Path, needed: bool) -> None:
        found = check_nbd(machine(tmp_path), needed=needed)
        assert found.status is (Status.WRONG if needed else Status.MISSING)
        assert f"the running kernel, {RELEASE}, has no nbd module" in found.text
        assert found.fix is not None
        assert "linux-image-amd64" in found.fix
        assert "vof-mount TVQN MOUNTPOINT" in found.fix


class TestFuse:
    def test_it_can_be_used(self, tmp_path: Path) -> None:
        for is_root in (True, False):
            (found,) = check_fuse(machine(tmp_path, SOUND, is_root=is_root), needed=True)
            assert (found.status, found.text) == (Status.OK, "mounts can be made")

    def test_no_device(self, tmp_path: Path) -> None:
        (found,) = check_fuse(machine(tmp_path), needed=True)
        assert (found.status, found.text) == (Status.WRONG, "there is no /dev/fuse: no mounts")
        assert found.fix == f"boot a kernel that has FUSE; {RELEASE} has not"
        (found,) = check_fuse(machine(tmp_path, {"/sys/module/fuse/x": ""}), needed=False)
        assert found.status is Status.MISSING
        assert found.fix is not None
        assert "modprobe fuse" in found.fix

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_arguments: False)
        (found,) = check_fuse(machine(tmp_path, SOUND), needed=True)
        assert (found.status, found.text) == (Status.WRONG, "you may not open /dev/fuse")

    def test_as_a_user(self, tmp_path: Path) -> None:
        files = SOUND | {"/etc/fuse.conf": "# user_allow_other\n"}
        first, second = check_fuse(machine(tmp_path, files, {}, is_root=False), needed=True)
        assert (first.status, first.fix) == (Status.WRONG, "install fuse3 (Debian's name)")
        assert (second.status, second.text) == (
            Status.MISSING,
            "the option allow_other is not for you",
        )


class TestRdma:
    @pytest.fixture(autouse=True)
    def pyverbs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())

    def test_it_can_be_used(self, tmp_path: Path) -> None:
        (found,) = check_rdma(machine(tmp_path, SOUND), needed=True)
        assert (found.status, found.text) == (Status.OK, "can be used: mlx5_0")

    @pytest.mark.parametrize("needed", [True, False])
    def test_no_device(self, tmp_path: Path, needed: bool) -> None:
        (found,) = check_rdma(machine(tmp_path), needed=needed)
        assert found.status is (Status.WRONG if needed else Status.MISSING)
        assert found.fix is not None
        assert "modprobe rdma_rxe" in found.fix

    def test_a_port_that_is_down(self, tmp_path: Path) -> None:
        state = "/sys/class/infiniband/mlx5_0/ports/1/state"
        (found,) = check_rdma(machine(tmp_path, SOUND | {state: "1: DOWN\n"}), needed=True)
        assert (found.status, found.text) == (Status.WRONG, "no port of mlx5_0 is active")

    def test_one_port_of_two_is_down(self, tmp_path: Path) -> None:
        state = "/sys/class/infiniband/mlx5_1/ports/1/state"
        down, up = check_rdma(machine(tmp_path, SOUND | {state: "1: DOWN\n"}), needed=True)
        assert (down.status, up.status) == (Status.MISSING, Status.OK)

    def test_no_connection_manager(self, tmp_path: Path) -> None:
        files = {name: text for name, text in SOUND.items() if "rdma_cm" not in name}
        (found,) = check_rdma(machine(tmp_path, files), needed=True)
        assert found.status is Status.WRONG
        assert found.text == "/dev/infiniband/rdma_cm is not there, or not for you"

    def test_no_pyverbs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
        (found,) = check_rdma(machine(tmp_path, SOUND), needed=True)
        assert (found.text, found.fix) == (
            "pyverbs cannot be loaded",
            "install python3-pyverbs (Debian's name)",
        )
