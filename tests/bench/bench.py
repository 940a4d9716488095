# SPDX-License-Identifier: BSD-3-Clause
"""Measures the gateway beside what a user would pick instead, in one run.

Both sides are fio's nbd engine on a unix socket, and one hop over TCP on loopback to a program that
serves an image file whose pages are in memory:

    vof          fio → nbdkit python vof_plugin.py → vof-target
    nbdkit nbd   fio → nbdkit nbd → nbdkit file

For each workload the sides run alternately, as many pairs as asked for; a row gives the medians of
both sides and the median of the pairs' ratios. Nothing is asserted: numbers are for people, and
hold for the machine they were made on. `make bench ARGS='--pairs 5 --seconds 10'`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / "nbdkit-plugin" / "vof_plugin.py"
TVQN = "virtio-target/block/bench0.service"
IMAGE_SIZE = 512 << 20
START_TIMEOUT = 20.0


class Workload(NamedTuple):
    name: str
    rw: str
    block_size: str
    depth: int
    unit: str


WORKLOADS = (
    Workload("4 KiB random read, depth 1", "randread", "4k", 1, "IOPS"),
    Workload("4 KiB random read, depth 32", "randread", "4k", 32, "IOPS"),
    Workload("4 KiB random write, depth 1", "randwrite", "4k", 1, "IOPS"),
    Workload("4 KiB random write, depth 32", "randwrite", "4k", 32, "IOPS"),
    Workload("1 MiB sequential read, depth 8", "read", "1m", 8, "MB/s"),
    Workload("1 MiB sequential write, depth 8", "write", "1m", 8, "MB/s"),
)


@contextlib.contextmanager
def service(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(process: subprocess.Popen[bytes], log: Path, ready: str, file: Path) -> str:
    """Wait until ``file`` has text that matches ``ready``; return its first group."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        text = file.read_text() if file.exists() else ""
        if match := re.search(ready, text):
            return match[1]
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: {process.args!r} did not start:\n{log.read_text()}")
        time.sleep(0.02)


def image(work: Path, name: str) -> Path:
    path = work / name
    with path.open("wb") as file:
        for _chunk in range(IMAGE_SIZE >> 20):
            file.write(os.urandom(1 << 20))
    return path


@contextlib.contextmanager
def nbdkit(work: Path, name: str, *arguments: str) -> Iterator[None]:
    pidfile, log = work / f"{name}.pid", work / f"{name}.log"
    with service("nbdkit", "-f", "-P", str(pidfile), *arguments, log=log) as process:
        wait_for(process, log, r"(\d+)\n", pidfile)
        yield


@contextlib.contextmanager
def vof_side(work: Path) -> Iterator[str]:
    config, log, sock = work / "target.conf", work / "target.log", work / "vof.sock"
    backend = f"driver=block-posix,path={image(work, 'vof.img')},queues=4"
    config.write_text(
        f"[target]\nport = 0\n[bench0]\ntvqn = {TVQN}\nmodel = block\nbackend = {backend}\n"
    )
    with service("vof-target", str(config), log=log) as target:
        port = wait_for(target, log, r"listening on \S+:(\d+)", log)
        with nbdkit(
            work, "vof", "-U", str(sock), "python", str(PLUGIN), f"tvqn={TVQN}", f"tport={port}"
        ):
            yield f"nbd+unix:///?socket={sock}"


@contextlib.contextmanager
def proxy_side(work: Path) -> Iterator[str]:
    inner, sock, port = image(work, "proxy.img"), work / "proxy.sock", str(free_port())
    with (
        nbdkit(work, "file", "-i", "127.0.0.1", "-p", port, "file", str(inner)),
        nbdkit(work, "proxy", "-U", str(sock), "nbd", "hostname=127.0.0.1", f"port={port}"),
    ):
        yield f"nbd+unix:///?socket={sock}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(uri: str, workload: Workload, seconds: float) -> float:
    """Return what one fio run reached, in the workload's unit."""
    command = [
        "fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", f"--rw={workload.rw}",
        f"--bs={workload.block_size}", f"--iodepth={workload.depth}", f"--size={IMAGE_SIZE}",
        "--time_based", f"--runtime={seconds}", "--ramp_time=0.5", "--randrepeat=0",
        "--output-format=json",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: fio failed: {done.stderr or done.stdout}")
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    side = job["read" if "read" in workload.rw else "write"]
    return float(side["iops"] if workload.unit == "IOPS" else side["bw_bytes"] / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description="measure vof beside nbdkit's NBD proxy")
    parser.add_argument("--pairs", type=int, default=3, help="alternating runs of each workload")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one run")
    parser.add_argument("--json", type=Path, help="also write every run's number to this file")
    options = parser.parse_args()
    today = dt.datetime.now(dt.UTC).date()
    print(f"{today}, {os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release()};")
    print(f"{options.pairs} pairs of {options.seconds:g} s each, medians\n")
    print(f"{'':34}{'vof':>10}{'nbdkit nbd':>12}{'':6}{'ratio':>7}")
    runs: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="vof-bench-", dir="/var/tmp") as folder:
        work = Path(folder)
        with vof_side(work) as vof, proxy_side(work) as proxy:
            for workload in WORKLOADS:
                pairs = runs[workload.name] = []
                for _pair in range(options.pairs):
                    ours = measure(vof, workload, options.seconds)
                    pairs.append((ours, measure(proxy, workload, options.seconds)))
                ours, theirs = (median(side) for side in zip(*pairs, strict=True))
                ratio = median(a / b for a, b in pairs)
                row = (
                    f"{workload.name:34}{ours:10,.0f}{theirs:12,.0f} {workload.unit:5}{ratio:7.2f}"
                )
                print(row, flush=True)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
