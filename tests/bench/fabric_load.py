# SPDX-License-Identifier: BSD-3-Clause
"""Makes load with our own engine and no NBD: a program, to be pinned and its CPU counted.

`python -m tests.bench.fabric_load --tport PORT --tvqn NAME --rw randread ...` prints one line of
JSON. `--idle` opens the associations, says so and holds them until its standard input ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vof.drivers import load
from vof.drivers.block import BlockDriver
from vof.errors import VofError
from vof.initiator.parameters import SessionParameters

OPEN = "open"
"""Printed once the idle associations are there."""


def run_load(driver: BlockDriver, options: argparse.Namespace, seed: int) -> load.LoadResult:
    """Make load on one device; return requests, seconds and errors as attributes."""
    plan = load.LoadPlan(
        write=options.rw.endswith("write"),
        random=options.rw.startswith("rand"),
        block_size=options.block_size,
        depth=options.depth,
        seconds=options.seconds,
        seed=seed,
    )
    return load.run(driver, plan)


def main() -> None:
    options = parse()
    try:
        with contextlib.ExitStack() as drivers:
            opened = [open_driver(options, drivers) for _each in range(options.initiators)]
            if options.idle:
                print(OPEN, flush=True)
                sys.stdin.read()
            else:
                print(json.dumps(run_all(opened, options)))
    except (VofError, OSError) as error:
        sys.exit(f"fabric_load: {type(error).__name__}: {error}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="make load on virtio-blk devices of a target")
    parser.add_argument("--taddr", default="127.0.0.1")
    parser.add_argument("--tport", type=int, required=True)
    parser.add_argument("--tvqn", required=True)
    parser.add_argument("--initiators", type=int, default=1, help="associations (1)")
    parser.add_argument("--queues", type=int, default=1, help="virtqueues of each (1)")
    parser.add_argument("--idle", action="store_true", help="hold them until stdin ends")
    parser.add_argument("--rw", choices=("read", "write", "randread", "randwrite"))
    parser.add_argument("--block-size", type=int, default=4096, help="bytes (4096)")
    parser.add_argument("--depth", type=int, default=32, help="requests in flight of a queue (32)")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if not options.idle and not options.rw:
        parser.error("--rw is needed")
    return options


def open_driver(options: argparse.Namespace, drivers: contextlib.ExitStack) -> BlockDriver:
    parameters = SessionParameters(tvqn=options.tvqn, taddr=options.taddr, tport=options.tport)
    driver = BlockDriver.open(parameters, options.queues)
    drivers.callback(driver.close)
    return driver


def run_all(drivers: Sequence[BlockDriver], options: argparse.Namespace) -> dict[str, float]:
    """Let all initiators begin together, each in a thread of its own."""
    begin = threading.Barrier(len(drivers))

    def one(driver: BlockDriver, seed: int) -> Any:
        begin.wait()
        return run_load(driver, options, seed)

    before = cpu()
    with ThreadPoolExecutor(len(drivers)) as pool:
        results = list(pool.map(one, drivers, range(len(drivers))))
    return {
        "requests": sum(result.requests for result in results),
        "seconds": max(result.seconds for result in results),
        "errors": sum(result.errors for result in results),
        "cpu": cpu() - before,
    }


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
