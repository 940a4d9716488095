# SPDX-License-Identifier: BSD-3-Clause
"""The programs that make load: fio over NBD, iscsi-perf, and our engine alone.

Each is run to its end on the initiator's CPUs; what it prints becomes a ``Load``. Must not know
what is at the other end.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tests.bench.accounting import cpu_seconds
from tests.bench.processes import (
    BOUND,
    END_OF_A_RUN,
    Unavailable,
    last_line,
    output_of,
    pinned,
    require,
)
from tests.bench.results import Sample
from tests.bench.rows import Measure

IMAGE_SIZE = 512 << 20

SIZES = {4 << 10: "4 KiB", 64 << 10: "64 KiB", 1 << 20: "1 MiB"}


class Workload(NamedTuple):
    rw: str
    """As fio says it: read, write, randread, randwrite."""
    block_size: int
    depth: int
    """Requests in flight, of every initiator."""

    @property
    def name(self) -> str:
        order = "random" if self.rw.startswith("rand") else "sequential"
        return f"{SIZES[self.block_size]} {order} {self.direction}, depth {self.depth}"

    @property
    def direction(self) -> str:
        return self.rw.removeprefix("rand")

    @property
    def unit(self) -> str:
        return "IOPS" if self.block_size == 4 << 10 else "MB/s"


class Load(NamedTuple):
    """What a load generator did."""

    requests: float
    seconds: float
    cpu: float
    """Seconds it took itself, its start left out where that is more than nothing."""


def measure(workload: Workload, pids: Iterable[int], load: Callable[[float], Load]) -> Measure:
    """Return a measurement of a side whose services are these processes."""
    services = tuple(pids)

    def run(seconds: float) -> Sample:
        before = cpu_seconds(services)
        done = load(seconds)
        used = cpu_seconds(services) - before + done.cpu
        if not done.requests:
            raise Unavailable("no request was completed")
        rate = done.requests / done.seconds
        value = rate if workload.unit == "IOPS" else rate * workload.block_size / 1e6
        return Sample(value, used / done.requests * 1e6)

    return run


def fio(uri: str, workload: Workload, cpus: str, initiators: int = 1) -> Callable[[float], Load]:
    def run(seconds: float) -> Load:
        # No ramp: what the services take during it would count for no request.
        command = [
            "fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", f"--rw={workload.rw}",
            f"--bs={workload.block_size}", f"--iodepth={workload.depth}", f"--size={IMAGE_SIZE}",
            "--time_based", f"--runtime={milliseconds(seconds)}ms", "--randrepeat=0",
            f"--numjobs={initiators}", "--thread", "--output-format=json",
        ]  # fmt: skip
        return fio_load(output_of(command, cpus), workload.direction)

    return run


def fio_load(text: str, direction: str) -> Load:
    """Read fio's JSON, which may come after complaints. Raises Unavailable."""
    try:
        jobs = json.loads(text[text.index("{") :])["jobs"]
        failed = next((job["error"] for job in jobs if job["error"]), 0)
        requests = sum(job[direction]["total_ios"] for job in jobs)
        seconds = max(job[direction]["runtime"] for job in jobs) / 1e3
        # fio's start takes longer than some of our runs' CPU time, but is not in these shares.
        cpu = sum((job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] for job in jobs)
    except (ValueError, LookupError, TypeError) as error:
        raise Unavailable(f"fio gave no result: {last_line(text)}") from error
    if failed or not seconds:
        raise Unavailable(f"fio failed (error {failed}): {last_line(text.partition('{')[0])}")
    return Load(requests, seconds, cpu / 1e3)


def iscsi_perf(
    url: str, workload: Workload, cpus: str, initiators: int = 1
) -> Callable[[float], Load]:
    """iscsi-perf reads only, and counts in whole seconds."""
    order = ["-r"] if workload.rw == "randread" else []

    def run(seconds: float) -> Load:
        require("iscsi-perf")
        whole = max(1, round(seconds))
        # Blocks are of 512 bytes.
        command = [
            "iscsi-perf", *order, "-m", str(workload.depth), "-b", str(workload.block_size >> 9),
            "-t", str(whole), url,
        ]  # fmt: skip
        before = _children_cpu()
        rates = map(iscsi_perf_rate, _together([*BOUND, *pinned(cpus, *command)], initiators))
        return Load(sum(rates) * whole, whole, _children_cpu() - before)

    return run


def iscsi_perf_rate(text: str) -> int:
    """Read the average that iscsi-perf prints at its end. Raises Unavailable."""
    rates: list[str] = re.findall(r"^iops average (\d+)", text.replace("\r", "\n"), re.MULTILINE)
    if not rates:
        raise Unavailable(f"iscsi-perf gave no result: {last_line(text)}")
    return int(rates[-1])


def fabric(
    port: str,
    tvqn: str,
    workload: Workload,
    cpus: str,
    *,
    initiators: int = 1,
    queues: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Callable[[float], Load]:
    """The engine alone; each queue has its share of the depth."""

    def run(seconds: float) -> Load:
        command = [
            *fabric_program(port, tvqn, initiators, queues), f"--rw={workload.rw}",
            f"--block-size={workload.block_size}", f"--depth={max(1, workload.depth // queues)}",
            f"--seconds={seconds:g}",
        ]  # fmt: skip
        return fabric_result(output_of(command, cpus, environment))

    return run


def fabric_program(port: str, tvqn: str, initiators: int, queues: int) -> list[str]:
    program = [sys.executable, "-m", "tests.bench.fabric_load"]
    where = [f"--tport={port}", f"--tvqn={tvqn}"]
    return [*program, *where, f"--initiators={initiators}", f"--queues={queues}"]


def fabric_result(text: str) -> Load:
    """Read what fabric_load prints. Raises Unavailable."""
    try:
        data: dict[str, Any] = json.loads(text)
        load = Load(data["requests"], data["seconds"], data["cpu"])
    except (ValueError, LookupError, TypeError) as error:
        raise Unavailable(f"fabric_load gave no result: {last_line(text)}") from error
    if data["errors"]:
        raise Unavailable(f"fabric_load: {data['errors']} requests failed")
    return load


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1e3))


def _together(command: list[str], count: int) -> list[str]:
    """Run a program several times at once; return what each printed."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _each in range(count)
    ]
    try:
        return [
            process.communicate(timeout=END_OF_A_RUN)[0].decode(errors="replace")
            for process in processes
        ]
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[-1]} did not end within {END_OF_A_RUN:g} s") from None
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
