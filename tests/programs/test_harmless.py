# SPDX-License-Identifier: BSD-3-Clause
"""Every program, with its defaults, at a target that ends as the reference target does of whatever
it does not expect: it serves on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.mounting import Mount
from tests.nbd.nbdkit_process import WAYS, Nbdkit
from tests.programs.commands import VOFCTL
from tests.support.scripted_rng import ScriptedRng, rng_device
from tests.support.scripted_target import PATIENCE, ScriptedTarget, fragile
from vof.wire.constants import VENDOR_VTGT


@pytest.fixture
def disk() -> Iterator[ScriptedTarget]:
    with ScriptedTarget(fragile(features=0x1006)) as target:
        yield target
        assert not target.died


@pytest.mark.parametrize("verb", ["info", "doctor"])
def test_vofctl(disk: ScriptedTarget, verb: str) -> None:
    done = subprocess.run(
        [*VOFCTL, verb, disk.device.tvqn, f"--taddr={disk.address}", f"--tport={disk.port}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_nbdkit(disk: ScriptedTarget, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nbdkit, "way", WAYS[way])
    device = disk.device
    device.disk[:512] = b"7" * 512
    words = (f"tvqn={device.tvqn}", f"taddr={disk.address}", f"tport={disk.port}")
    with Nbdkit(*words) as nbdkit:
        assert nbdkit.connect().pread(512, 0) == b"7" * 512


@pytest.mark.fuse
def test_vof_mount(tmp_path: Path) -> None:
    device = rng_device(vendor_id=VENDOR_VTGT, dies=True)
    with ScriptedRng(device) as target:
        with Mount(tmp_path / "mnt", device.tvqn, tport=target.port) as mount:
            with (mount / "rng0" / "random").open("rb", buffering=0) as file:
                assert file.read(16)
        assert not target.died
