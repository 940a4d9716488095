# SPDX-License-Identifier: BSD-3-Clause
"""Rows about a remote disk over NBD, beside nbdkit's own NBD proxy.

Both sides are fio's nbd engine on a unix socket, and one hop over TCP on loopback to a program that
serves an image file whose pages are in memory:

    vof          fio → nbdkit python vof_plugin.py → vof-target
    nbdkit nbd   fio → nbdkit nbd → nbdkit file
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench.processes import output_of, service, target, wait_for
from tests.bench.rows import Row, Table

PLUGIN = Path(__file__).resolve().parents[2] / "nbdkit-plugin" / "vof_plugin.py"
TVQN = "virtio-target/block/bench0.service"
IMAGE_SIZE = 512 << 20


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
def nbd_rows(work: Path) -> Iterator[Table]:
    with vof_side(work) as vof, proxy_side(work) as proxy:
        yield Table(
            [
                Row(
                    workload.name,
                    workload.unit,
                    {
                        "vof": partial(fio, vof, workload),
                        "nbdkit nbd": partial(fio, proxy, workload),
                    },
                )
                for workload in WORKLOADS
            ]
        )


@contextlib.contextmanager
def vof_side(work: Path) -> Iterator[str]:
    sock = work / "vof.sock"
    backend = f"driver=block-posix,path={image(work, 'vof.img')},queues=4"
    devices = f"[bench0]\ntvqn = {TVQN}\nmodel = block\nbackend = {backend}\n"
    with (
        target(work, "block", devices) as port,
        nbdkit(
            work, "vof", "-U", str(sock), "python", str(PLUGIN), f"tvqn={TVQN}", f"tport={port}"
        ),
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


@contextlib.contextmanager
def nbdkit(work: Path, name: str, *arguments: str) -> Iterator[None]:
    pidfile, log = work / f"{name}.pid", work / f"{name}.log"
    with service("nbdkit", "-f", "-P", str(pidfile), *arguments, log=log) as process:
        wait_for(process, log, r"(\d+)\n", pidfile)
        yield


def image(work: Path, name: str) -> Path:
    path = work / name
    with path.open("wb") as file:
        for _chunk in range(IMAGE_SIZE >> 20):
            file.write(os.urandom(1 << 20))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fio(uri: str, workload: Workload, seconds: float) -> float:
    """Return what one fio run reached, in the workload's unit."""
    command = [
        "fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", f"--rw={workload.rw}",
        f"--bs={workload.block_size}", f"--iodepth={workload.depth}", f"--size={IMAGE_SIZE}",
        "--time_based", f"--runtime={seconds}", "--ramp_time=0.5", "--randrepeat=0",
        "--output-format=json",
    ]  # fmt: skip
    text = output_of(command)
    job = json.loads(text[text.index("{") :])["jobs"][0]
    side = job["read" if "read" in workload.rw else "write"]
    return float(side["iops"] if workload.unit == "IOPS" else side["bw_bytes"] / 1e6)
