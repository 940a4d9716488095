# SPDX-License-Identifier: BSD-3-Clause
"""fio's random mixed load with verification, through nbdkit to the target's image."""

from __future__ import annotations

import subprocess

import pytest

from tests.nbd.conftest import DISK, OTHER, Served
from tests.nbd.nbdkit_process import Nbdkit

pytestmark = pytest.mark.nbdkit

CHECK_SECONDS = 10
SOAK_SECONDS = 120


def start_fio(nbdkit: Nbdkit, seconds: int) -> subprocess.Popen[str]:
    """Four jobs, each in a region of its own, or they would find each other's data."""
    return subprocess.Popen(
        [
            "fio", "--name=verify", "--ioengine=nbd", f"--uri={nbdkit.uri}",
            "--rw=randrw", "--bsrange=512-1m", "--blockalign=512", "--iodepth=16",
            "--numjobs=4", "--size=16m", "--offset_increment=16m",
            "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--exitall_on_error=1",
            "--time_based", f"--runtime={seconds}", "--output-format=terse", "--minimal",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(fio: subprocess.Popen[str], seconds: int) -> None:
    output, errors = fio.communicate(timeout=seconds + 60)
    assert fio.returncode == 0, errors + output
    jobs = [line.split(";") for line in output.splitlines() if line.startswith("3;")]
    assert len(jobs) == 4
    for job in jobs:
        assert job[4] == "0", "an error of a job"
        assert int(job[5]) > 0, "nothing was read"
        assert int(job[46]) > 0, "nothing was written"


def test_random_mixed_load_is_verified(served: Served) -> None:
    with served.nbdkit(DISK) as nbdkit:
        finish(start_fio(nbdkit, CHECK_SECONDS), CHECK_SECONDS)
        assert nbdkit.log.count("error") == 0


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 120)
def test_two_minutes_on_two_devices(own_target: Served) -> None:
    """A second nbdkit is at work on the same target's other device meanwhile."""
    with own_target.nbdkit(DISK) as one, own_target.nbdkit(OTHER) as two:
        jobs = [start_fio(nbdkit, SOAK_SECONDS) for nbdkit in (one, two)]
        for job in jobs:
            finish(job, SOAK_SECONDS)
        assert "error" not in one.log + two.log
