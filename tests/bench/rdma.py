# SPDX-License-Identifier: BSD-3-Clause
"""Measures over RDMA, in a guest with rxe: eager buffers, keyed descriptors, TCP, by turns.

Like `bench`, for a machine that has no RDMA. The guest has one CPU and a clock that counts
instructions, so that the same comes out on every machine, and on a busy one; what the sides have of
each other, what they post for a request and where it spends its instructions is what to look at.
Nothing is asserted. `make bench-rdma ARGS='--table docs/performance.md'`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.bench import rdma_guest, rdma_render
from tests.bench.machine import busy_warning
from tests.bench.processes import Unavailable
from tests.bench.render import check_table
from tests.guest.harness import GuestError, run_scenario

TIMEOUT = 3600.0
"""Seconds after which a guest is not waited for any more."""
CLOCK = 2
"""An instruction takes 2 to this power nanoseconds: 250 million of them make a second."""


def main() -> None:
    options = parse()
    try:
        if options.table:
            check_table(options.table, rdma_render.BEGIN, rdma_render.END)
        found = load(options.replay) if options.replay else run(options)
        print(rdma_render.text(found))
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if options.table:
            rdma_render.write_table(options.table, found)
    except (Unavailable, GuestError, OSError) as reason:
        sys.exit(f"bench: {reason}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-rdma", description="measure vof over RDMA, in a guest with rxe"
    )
    add = parser.add_argument
    add("--pairs", type=int, default=5, help="rounds: runs of each side in each row (5)")
    add("--seconds", type=float, default=1.0, help="length of one run, by the guest's clock (1)")
    add(
        "--real-time",
        action="store_true",
        help="two CPUs, and this machine's clock: for an idle machine",
    )
    add("--rows", default="", metavar="TEXT", help="only rows whose name has this text")
    add("--json", type=Path, metavar="FILE", help="write all that was found")
    add("--table", type=Path, metavar="FILE", help="write Markdown, to its place in the file")
    add("--from", type=Path, metavar="FILE", dest="replay", help="show a --json file again")
    options = parser.parse_args()
    if options.pairs < 1 or options.seconds <= 0:
        parser.error("there is nothing to measure in no time")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Boot a guest and measure in it. Raises GuestError, or Unavailable if it found nothing."""
    warning = busy_warning() if options.real_time else None
    if warning:
        print(warning, flush=True)
    guest = run_scenario(
        rdma_guest.__name__,
        timeout=TIMEOUT,
        cpus=2 if options.real_time else 1,
        nanoseconds_log2=None if options.real_time else CLOCK,
        environment={
            rdma_guest.ROUNDS: str(options.pairs),
            rdma_guest.SECONDS: str(options.seconds),
            rdma_guest.ROWS: options.rows,
        },
    )
    try:
        found = {
            step: guest.result(step) for step in ("measure_rows", "count_operations", "profile")
        }
    except AssertionError as error:
        raise Unavailable(str(error)) from None
    report = json.loads((guest.folder / rdma_guest.REPORT).read_text(encoding="utf-8"))
    if warning:
        report["about"].insert(-1, warning)
    if not options.real_time:
        report["about"].insert(-1, f"a clock of {1 << CLOCK} ns an instruction, whatever it is")
    return {"report": report, **found}


def load(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unavailable(f"{path} is not what --json writes: {error}") from error
    return found


if __name__ == "__main__":
    main()
