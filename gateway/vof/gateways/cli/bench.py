# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl bench``: measures how fast a block device is from here, through our own driver.

Reads, unless ``--overwrite`` says otherwise: a device in use can be measured.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from vof.drivers import load
from vof.drivers.block import DEFAULT_QUEUES, BlockDriver
from vof.drivers.load import MAX_DEPTH, LoadPlan, LoadResult
from vof.errors import ConfigError
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_facts, write_json
from vof.gateways.cli.progress import Progress
from vof.gateways.cli.target_options import add_target_argument, target_settings
from vof.gateways.settings.effective import Effective
from vof.gateways.settings.keys import PLUGIN
from vof.initiator.parameters import parse_integer, parse_seconds
from vof.program import undone

DEFAULTS = LoadPlan(seconds=5.0)

PERCENTILES = (50, 90, 99, 99.9)

MAX_SECONDS = 86400

_SIZE = re.compile(r"([0-9]{1,9})([KM]?)", re.IGNORECASE)
_SHIFTS = {"": 0, "K": 10, "M": 20}

_TICK = 0.1
"""Seconds between two looks at the clock for the progress bar."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_target_argument(parser)
    parser.add_argument(
        "--seconds", metavar="SECONDS", help=f"how long (default {DEFAULTS.seconds:g})"
    )
    parser.add_argument(
        "--depth",
        metavar="N",
        help=f"requests in flight on each virtqueue, 1 to {MAX_DEPTH} (default {DEFAULTS.depth})",
    )
    parser.add_argument(
        "--block-size",
        metavar="BYTES",
        help=f"of a request; K and M are units (default {DEFAULTS.block_size})",
    )
    parser.add_argument(
        "--queues",
        metavar="N",
        help=PLUGIN["queues"].text,
    )
    parser.add_argument(
        "--sequential", action="store_true", help="one place after the other, not at random"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write instead of reading: what the device holds is LOST",
    )
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Measure, and tell the result."""
    plan = _plan(given)
    settings = target_settings(given, queues=given.queues)
    driver = BlockDriver.open(settings.parameters(), settings.number("queues") or DEFAULT_QUEUES)
    try:
        if driver.size < plan.block_size:
            raise ConfigError(
                f"the device has {driver.size} bytes: too few for requests of {plan.block_size}"
            )
        with undone():
            result = _measure(driver, plan)
        if driver.session.error is not None:
            raise driver.session.error
        queues = len(driver.session.virtqueues)
    finally:
        driver.close()
    if wants_json(given):
        write_json(_as_json(settings, plan, queues, result))
    else:
        write_facts(_facts(plan, queues, result))
    return Exit.FAILED if result.errors else Exit.DONE


def _plan(given: argparse.Namespace) -> LoadPlan:
    """Return what the options ask for. Raises ConfigError."""
    return LoadPlan(
        write=given.overwrite,
        random=not given.sequential,
        block_size=DEFAULTS.block_size
        if given.block_size is None
        else _bytes("--block-size", given.block_size),
        depth=DEFAULTS.depth
        if given.depth is None
        else parse_integer("--depth", given.depth, 1, MAX_DEPTH),
        seconds=DEFAULTS.seconds
        if given.seconds is None
        else parse_seconds("--seconds", given.seconds, 0.1, MAX_SECONDS),
    )


def _measure(driver: BlockDriver, plan: LoadPlan) -> LoadResult:
    """Run the load in a thread of its own, so that this one can draw and be interrupted."""
    with ThreadPoolExecutor(1) as pool, Progress("writing" if plan.write else "reading") as bar:
        done: Future[LoadResult] = pool.submit(load.run, driver, plan)
        start = time.monotonic()
        try:
            while True:
                try:
                    return done.result(_TICK)
                except TimeoutError:
                    bar.advance((time.monotonic() - start) / plan.seconds)
        except BaseException:
            # Ends the load as well, or its thread would be waited for.
            driver.close()
            raise


def _as_json(
    settings: Effective, plan: LoadPlan, queues: int, result: LoadResult
) -> dict[str, object]:
    return {
        "name": settings.name,
        "tvqn": settings.text("tvqn"),
        "operation": "write" if plan.write else "read",
        "pattern": "random" if plan.random else "sequential",
        "block_size": plan.block_size,
        "depth": plan.depth,
        "queues": queues,
        "seconds": round(result.seconds, 6),
        "requests": result.requests,
        "errors": result.errors,
        "iops": round(result.requests / result.seconds, 1),
        "bytes_per_second": round(result.bytes / result.seconds),
        "latency_us": {f"p{each:g}": _microseconds(result, each) for each in PERCENTILES},
    }


def _facts(plan: LoadPlan, queues: int, result: LoadResult) -> Iterator[tuple[str, object]]:
    pattern = "random" if plan.random else "sequential"
    what = f"{pattern} {'writes' if plan.write else 'reads'} of {plan.block_size} bytes"
    yield "load", f"{what}, {plan.depth} in flight on each of {queues} virtqueues"
    yield "seconds", f"{result.seconds:.1f}"
    yield "requests", result.requests
    if result.errors:
        yield "errors", result.errors
    yield "iops", f"{result.requests / result.seconds:.0f}"
    yield "throughput", f"{result.bytes / result.seconds / (1 << 20):.1f} MiB/s"
    for each in PERCENTILES:
        yield f"latency p{each:g}", f"{_microseconds(result, each):.1f} us"


def _microseconds(result: LoadResult, percent: float) -> float:
    return round(result.percentile(percent) * 1e6, 1)


def _bytes(key: str, text: str) -> int:
    found = _SIZE.fullmatch(text)
    size = int(found[1]) << _SHIFTS[found[2].upper()] if found else 0
    if not size:
        raise ConfigError(f"{key}={text}: not a number of bytes, such as 4096 or 64K")
    return size
