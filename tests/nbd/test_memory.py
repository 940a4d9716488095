# SPDX-License-Identifier: BSD-3-Clause
"""The memory of gateway and target does not grow with time. ``VOF_SOAK_SECONDS`` (600) is how long
that is watched."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.nbd.conftest import DISK, Served
from tests.nbd.nbdkit_process import Nbdkit
from tests.nbd.test_fio import finish

SECONDS = int(os.environ.get("VOF_SOAK_SECONDS", "600"))

WARM_UP = SECONDS / 10
"""Seconds after which everything that is made once is made: threads, buffers kept for the next
request, the caches of the allocators."""

GROWTH = 8 << 20
"""Bytes by which the resident memory may differ after that. Which of their buffers threads keep at
the moment makes some MiB of difference, in either direction (an allocator's arena is given back by
the page, and a queue of the target keeps or returns four buffers of up to 1 MiB). A leak of 64
bytes a request would be several times as much within half a minute."""

pytestmark = [
    pytest.mark.nbdkit,
    pytest.mark.soak,
    pytest.mark.timeout(SECONDS + 300),
    pytest.mark.parametrize("way", ["fast"], indirect=True, scope="package"),
]


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)
    assert found
    return int(found[1]) << 10


def start_load(nbdkit: Nbdkit) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            "fio", "--name=load", "--ioengine=nbd", f"--uri={nbdkit.uri}", "--rw=randrw",
            "--bsrange=4k-256k", "--blockalign=4k", "--iodepth=16", "--numjobs=4", "--size=16m",
            "--offset_increment=16m", "--time_based", f"--runtime={SECONDS}",
            "--output-format=terse", "--minimal",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_memory_does_not_grow_under_load(own_target: Served) -> None:
    with own_target.nbdkit(DISK) as nbdkit:
        load = start_load(nbdkit)
        pids = {"nbdkit": nbdkit.pid, "vof-target": own_target.process.pid}
        settled = dict.fromkeys(pids, 0)
        most = dict.fromkeys(pids, 0)
        start = time.monotonic()
        try:
            while load.poll() is None:
                # Connections come and go meanwhile, and must not leave anything, either.
                with nbdkit.client() as client:
                    client.pread(4096, 0)
                early = time.monotonic() - start < WARM_UP
                for name, pid in pids.items():
                    seen = settled if early else most
                    seen[name] = max(seen[name], resident(pid))
                time.sleep(SECONDS / 300)  # between two samples
        finally:
            load.terminate()
        finish(load, 1)
        for name in pids:
            assert settled[name], "no sample"
            assert most[name] <= settled[name] + GROWTH, (name, settled, most)
