# SPDX-License-Identifier: BSD-3-Clause
"""The measurements over RDMA, inside a guest; `python -m tests.bench.rdma` boots it for them.

A scenario as those of the tests, see `tests.guest.steps`. Target and initiator are joined by a wire
that TCP crosses as well, see `tests.guest.rxe`. The environment says how long to measure.
"""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import profiles, rdma_rows
from tests.bench.machine import description
from tests.bench.processes import service
from tests.bench.rdma_rows import Cost, Place
from tests.bench.render import heading, line
from tests.bench.results import GroupResult, Report
from tests.bench.rows import measured
from tests.guest import operations, rxe
from tests.guest.steps import EXCHANGE, Scenario, wait_until
from vof.initiator.parameters import SessionParameters

scenario = Scenario()

ROUNDS, SECONDS, ROWS = "VOF_BENCH_ROUNDS", "VOF_BENCH_SECONDS", "VOF_BENCH_ROWS"
"""Variables of the environment: rounds, seconds of a run, and a part of the names of rows."""
REPORT = "report.json"
"""What the rows have become, in the exchange folder."""
PROFILED = 3.0
"""Seconds of each profile."""

TVQN = "virtio-target/block/bench0.service"
SIZE = 128 << 20

CONFIG = f"""\
[target]
transport = {{transports}}
address = {rxe.FAR.address}
port = {{port}}

[bench0]
tvqn = {TVQN}
model = block
backend = driver=block-posix,path={{image}}
"""


@contextmanager
def target(
    name: str, transports: str, port: int, *command: str, variables: dict[str, str] | None = None
) -> Iterator[Place]:
    config, log = EXCHANGE / f"{name}.conf", EXCHANGE / f"{name}.log"
    image = Path("/dev/shm", f"{name}.img")  # whoever serves one has it for himself
    image.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    text = CONFIG.format(transports=transports, port=port, image=image)
    config.write_text(text, encoding="utf-8")
    words = [word.format(config=config) for word in command]
    with service(*words, log=log, environment=variables) as process:
        wait_until(name, lambda: "listening on" in log.read_text(encoding="utf-8"), 120)
        yield Place(rxe.FAR.address, port, TVQN, process.pid)
    image.unlink()


class Wire:
    """The one there is, and how long it is now."""

    delay = 0.0
    _idler: subprocess.Popen[bytes] | None = None

    @classmethod
    def set_delay(cls, seconds: float) -> None:
        if seconds == cls.delay:
            return
        rxe.delay(seconds)
        cls.delay = seconds
        if cls._idler:
            cls._idler.kill()
            cls._idler.wait()
            cls._idler = None
        if seconds and os.cpu_count() == 1:
            # A clock that counts instructions has none to count while a packet is on its way, and
            # goes by the host's, which may be late. So there are always some; Machine takes what is
            # done with low priority for idleness.
            spin = ("nice", "-n", "19", "sh", "-c", "while :; do :; done")
            cls._idler = subprocess.Popen(["chrt", "--idle", "0", *spin])


@scenario.step(timeout=300)
def set_up_rdma() -> list[str]:
    rxe.load()
    rxe.set_up_wire()
    return description()


@scenario.step(needs=("set_up_rdma",), timeout=2400)
def measure_rows() -> dict[str, dict[str, Any]]:
    """All rows; what is returned are the medians of what requests cost, by row and column."""
    rounds, seconds = int(os.environ[ROUNDS]), float(os.environ[SECONDS])
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    start = time.monotonic()
    with (
        target("native", "tcp,rdma", 15771, "vof-target", "{config}") as native,
        target(
            *("python", "tcp", 15772, "vof-target", "{config}"),
            variables={"VOF_FABRIC": "python"},
        ) as python,
        rdma_rows.rdma_rows(native, python, Wire.set_delay) as (table, costs),
    ):
        result = GroupResult(
            "over RDMA and over TCP, in an emulated guest", list(table.columns), {}
        )
        result.ratios = {column: (of, to) for column, (of, to) in table.ratios.items()}
        report = Report(description(), {"rdma": result})
        chosen = [row for row in table.rows if os.environ[ROWS] in row.name]
        print(heading(result), flush=True)
        for row in measured(replace(table, rows=chosen), rounds, seconds):
            result.rows.append(row)
            print(line(result, row), flush=True)
            for column in table.columns:
                if costs[row.name, column]:
                    found[row.name][column] = Cost.median(costs[row.name, column])._asdict()
        result.notes += [
            f"no {column} in {row.name}: {reason}"
            for row in result.rows
            for column, reason in row.failures.items()
        ]
    Wire.set_delay(0.0)
    report.about.append(
        f"{rounds} rounds of runs of {seconds:g} s, medians; "
        f"took {(time.monotonic() - start) / 60:.1f} minutes"
    )
    (EXCHANGE / REPORT).write_text(json.dumps(report.to_json()), encoding="utf-8")
    return found


@scenario.step(needs=("set_up_rdma",), timeout=300)
def count_operations() -> dict[str, Any]:
    found = {}
    command = ("vof-target", "--verbose", "{config}")
    log = EXCHANGE / "counted.log"
    with target("counted", "rdma", 15773, *command) as place:
        for name, request, size, eager in (
            ("4 KiB write, eager", "write", 4096, True),
            ("4 KiB write, keyed", "write", 4096, False),
            ("4 KiB read, eager", "read", 4096, True),
            ("4 KiB read, keyed", "read", 4096, False),
            ("64 KiB write, eager", "write", 64 << 10, True),
            ("1 MiB write, eager", "write", 1 << 20, True),
            ("1 MiB read, eager", "read", 1 << 20, True),
        ):
            parameters = SessionParameters(
                tvqn=TVQN, taddr=place.address, tport=place.port, transport="rdma", eager=eager
            )
            found[name] = operations.per_request(
                parameters, lambda: log.read_text(encoding="utf-8"), request, size
            )
    return found


@scenario.step(needs=("set_up_rdma",), timeout=300)
def profile() -> dict[str, Any]:
    """Both ends' functions for an eager write at depth 1, and for reads at depth 32."""
    found: dict[str, Any] = {}
    for name, write, depth in (
        ("4 KiB eager write, depth 1", True, 1),
        ("4 KiB read, depth 32", False, 32),
    ):
        result = EXCHANGE / "profile.json"
        command = (sys.executable, "-m", "tests.bench.profiles", "{config}", str(result))
        with target("profiled", "rdma", 15774, *command) as place:
            driver = rdma_rows.open_driver(place, "rdma")
            try:
                count, stats = profiles.initiator(driver, write, depth, PROFILED)
            finally:
                driver.close()
        other = json.loads(result.read_text(encoding="utf-8"))
        found[name] = {
            "initiator": [entry._asdict() for entry in profiles.entries(stats, count)],
            "target": other["entries"],
        }
    return found


if __name__ == "__main__":
    scenario.main()
