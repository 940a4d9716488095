# SPDX-License-Identifier: BSD-3-Clause
"""Rows about RDMA: eager buffers, keyed descriptors and TCP, to the same target in one machine.

Runs inside a guest, see `rdma_guest`. All sides are sessions of one process, which has a virtqueue
of each and lets them take turns: what a program's start costs is in no number. Beside what a side
reaches, every run notes what it took of both CPUs.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.load_generators import Workload
from tests.bench.processes import Unavailable
from tests.bench.results import Sample
from tests.bench.rows import Measure, Row, Table, ours_first
from vof.drivers import load
from vof.drivers.block import BlockDriver
from vof.implementation import VARIABLE
from vof.initiator.parameters import SessionParameters

EAGER, KEYED, TCP, TCP_PYTHON = "eager", "keyed", "tcp", "tcp python"

EAGER_THRESHOLD = 1.25
"""What one round trip less is hoped to bring a write of 4 KiB."""

K4, M1 = 4 << 10, 1 << 20
_WORKLOADS = (
    Workload("randwrite", K4, 1),
    Workload("randread", K4, 1),
    Workload("randread", K4, 32),
    Workload("randwrite", K4, 32),
    Workload("read", M1, 4),
    Workload("write", M1, 4),
)

FAR = 0.0005
"""Seconds that a packet takes where the wire is a long one."""


class Case(NamedTuple):
    """A row: a workload, and the seconds that each packet takes on the wire."""

    workload: Workload
    delay: float = 0.0

    @property
    def name(self) -> str:
        far = f", a wire of {self.delay * 1e3:g} ms" if self.delay else ""
        return self.workload.name + far


CASES = (
    *(Case(workload) for workload in _WORKLOADS),
    Case(Workload("randwrite", K4, 1), FAR),
    Case(Workload("randread", K4, 1), FAR),
)

_TICKS = os.sysconf("SC_CLK_TCK")


class Machine(NamedTuple):
    """Seconds of all CPUs so far, by what they went to; low priority is for who would idle."""

    user: float
    system: float
    softirq: float
    idle: float

    @classmethod
    def now(cls) -> Machine:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        user, nice, system, idle, iowait, irq, softirq = map(int, first.split()[1:8])
        parts = (user, system, irq + softirq, nice + idle + iowait)
        return cls(*(part / _TICKS for part in parts))


class Cost(NamedTuple):
    """Microseconds of CPU that a request takes."""

    initiator_user: float
    initiator_system: float
    target_user: float
    target_system: float
    user: float
    """Of the whole machine, as what follows."""
    system: float
    softirq: float
    idle: float

    @classmethod
    def median(cls, costs: list[Cost]) -> Cost:
        return cls(*(median(column) for column in zip(*costs, strict=True)))


Costs = dict[tuple[str, str], list[Cost]]
"""By the name of the row, and the column."""


class Place(NamedTuple):
    """A target that serves a disk."""

    address: str
    port: int
    tvqn: str
    pid: int


@contextmanager
def rdma_rows(
    native: Place, python: Place, set_delay: Callable[[float], None]
) -> Iterator[tuple[Table, Costs]]:
    """Rows of four sides: three to the one target, and TCP with both ends' data path in Python.

    ``set_delay`` makes the wire as long as a row wants it, before each run.
    """
    costs: Costs = defaultdict(list)
    opened: dict[str, tuple[BlockDriver, int]] = {}
    try:
        opened[EAGER] = open_driver(native, "rdma"), native.pid
        opened[KEYED] = open_driver(native, "rdma", eager=False), native.pid
        opened[TCP] = open_driver(native, "tcp"), native.pid
        with _forced_python():
            opened[TCP_PYTHON] = open_driver(python, "tcp"), python.pid
        rows = []
        for case in CASES:
            prepare = partial(set_delay, case.delay)
            sides = {
                column: measure(
                    driver, pid, case.workload, prepare, costs[case.name, column].append
                )
                for column, (driver, pid) in opened.items()
            }
            goals = {KEYED: EAGER_THRESHOLD} if case == CASES[0] else {}
            rows.append(Row(case.name, case.workload.unit, sides, goals))
        yield ours_first(rows), costs
    finally:
        for driver, _pid in opened.values():
            driver.close()


def open_driver(place: Place, transport: str, *, eager: bool = True) -> BlockDriver:
    parameters = SessionParameters(
        tvqn=place.tvqn, taddr=place.address, tport=place.port, transport=transport, eager=eager
    )
    return BlockDriver.open(parameters, 1)


def measure(
    driver: BlockDriver,
    target: int,
    workload: Workload,
    prepare: Callable[[], None],
    note: Callable[[Cost], None],
) -> Measure:
    """Return a measurement that notes its costs; ``target`` is the process at the other end."""

    def run(seconds: float) -> Sample:
        prepare()
        before = _used(target)
        plan = load.LoadPlan(
            write=workload.direction == "write",
            random=workload.rw.startswith("rand"),
            block_size=workload.block_size,
            depth=workload.depth,
            seconds=seconds,
        )
        done = load.run(driver, plan)
        if done.errors or not done.requests:
            raise Unavailable(f"{done.errors} requests failed, {done.requests} did not")
        used = [now - then for now, then in zip(_used(target), before, strict=True)]
        cost = Cost(*(seconds / done.requests * 1e6 for seconds in used))
        note(cost)
        rate = done.requests / done.seconds
        value = rate if workload.unit == "IOPS" else rate * workload.block_size / 1e6
        return Sample(value)

    return run


def _used(target: int) -> tuple[float, ...]:
    """Seconds used so far, in the order of ``Cost``."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{target}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    user, system = (int(field) / _TICKS for field in fields[11:13])
    return own.ru_utime, own.ru_stime, user, system, *Machine.now()


@contextmanager
def _forced_python() -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "python"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before
