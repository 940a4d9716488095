# SPDX-License-Identifier: BSD-3-Clause
"""Load with verification while single queues are cut at random: every request either completes
rightly or fails, none is lost or wrong.

``VOF_SOAK_SECONDS`` (600) is the time of all tests here together, ``VOF_SOAK_SEED`` (1) says when
what is cut.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import nbd
import pytest

from tests.nbd.block_history import BLOCK, BlockHistory
from tests.nbd.conftest import DISK, DISK_SIZE, Served
from tests.nbd.nbdkit_process import Nbdkit
from tests.support.fault_proxy import FaultProxy
from tests.support.scripted_target import wait_until

SECONDS = float(os.environ.get("VOF_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("VOF_SOAK_SEED", "1"))

TESTS = 4
"""The two below, each in two ways."""

ROUND = min(10.0, SECONDS / TESTS / 2)
"""Seconds of one round, if it is not cut."""

DEPTH = 16
QUEUES = 4

pytestmark = [
    pytest.mark.nbdkit,
    pytest.mark.soak,
    pytest.mark.timeout(SECONDS + 300),
    pytest.mark.parametrize("way", ["plain", "fast"], indirect=True, scope="package"),
]


@pytest.fixture
def proxy(own_target: Served) -> Iterator[FaultProxy]:
    with FaultProxy(own_target.port) as proxy:
        yield proxy


@pytest.fixture
def nbdkit(proxy: FaultProxy) -> Iterator[Nbdkit]:
    with Nbdkit(f"tport={proxy.port}", f"tvqn={DISK}", f"queues={QUEUES}") as nbdkit:
        yield nbdkit


@contextmanager
def one_cut(proxy: FaultProxy, after: float, rng: random.Random) -> Iterator[threading.Event]:
    """Cut one of the connections ``after`` seconds; the event says that it is so."""
    cut, leave = threading.Event(), threading.Event()

    def work() -> None:
        if not leave.wait(after) and (live := proxy.live()):
            cut.set()
            proxy.cut(rng.choice(live))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield cut
    finally:
        leave.set()
        thread.join()


def rounds(rng: random.Random) -> Iterator[float | None]:
    """Yield, until the time is over, after how many seconds a round is cut; None where it is not.

    The first is cut, the last is not: it shows that everything works again.
    """
    end = time.monotonic() + SECONDS / TESTS - ROUND
    yield rng.uniform(0.1, ROUND * 0.8)
    while time.monotonic() < end:
        yield rng.uniform(0.0, ROUND * 0.8) if rng.random() < 0.8 else None
    yield None


def fio(nbdkit: Nbdkit) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "fio", "--name=cuts", "--ioengine=nbd", f"--uri={nbdkit.uri}",
            "--rw=randrw", "--bsrange=512-1m", "--blockalign=512", f"--iodepth={DEPTH}",
            "--numjobs=4", "--size=16m", "--offset_increment=16m", "--verify=crc32c",
            "--verify_fatal=1", "--verify_state_save=0", "--exitall_on_error=1",
            "--time_based", f"--runtime={ROUND}",
        ],
        capture_output=True, text=True, check=False, timeout=ROUND + 120,
    )  # fmt: skip


def test_fio_finds_errors_but_never_wrong_data(nbdkit: Nbdkit, proxy: FaultProxy) -> None:
    rng = random.Random(SEED)
    cuts = 0
    for after in rounds(rng):
        with one_cut(proxy, ROUND * 10 if after is None else after, rng) as cut:
            done = fio(nbdkit)
        words = done.stdout + done.stderr
        assert "verify:" not in words, words
        assert "verification" not in words, words
        if cut.is_set():
            cuts += 1
        else:
            assert done.returncode == 0, words
        assert nbdkit.alive, nbdkit.log
    assert cuts


def ended(end: float) -> Callable[[], bool]:
    return lambda: time.monotonic() >= end


def reconnected(nbdkit: Nbdkit, history: BlockHistory) -> None:
    """Check all data over a new connection, on which a session is opened."""
    with nbdkit.client() as client:
        history.check(client)


def test_every_block_holds_what_it_may(nbdkit: Nbdkit, proxy: FaultProxy) -> None:
    rng = random.Random(SEED)
    history = BlockHistory(DISK_SIZE // 4 // BLOCK, SEED)
    lost = 0
    for after in rounds(rng):
        before = history.acknowledged
        with one_cut(proxy, ROUND * 10 if after is None else after, rng) as cut:
            client = nbdkit.connect()
            good = history.work(client, DEPTH, ended(time.monotonic() + ROUND))
            if good:
                client.shutdown()
            del client
            assert good or cut.is_set(), nbdkit.log
            lost += not good
        wait_until(lambda: session_works(nbdkit), "a new session")
        reconnected(nbdkit, history)
        assert history.acknowledged > before or not good
    assert lost
    assert history.acknowledged > 100
    assert history.unknown


def session_works(nbdkit: Nbdkit) -> bool:
    """Whether a new connection is served: a cut that nobody has noticed yet fails the first."""
    try:
        with nbdkit.client() as client:
            client.pread(BLOCK, 0)
    except nbd.Error:
        return False
    return True
