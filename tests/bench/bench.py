# SPDX-License-Identifier: BSD-3-Clause
"""Measures the gateways beside what a user would pick instead, in one run.

For each row the sides run alternately, as many times as asked for; it gives the medians of all
sides and, after each, the median of the ratios of ours to it. Nothing is asserted: numbers are for
people, and hold for the machine they were made on.
`make bench ARGS='--group random --pairs 5 --seconds 10'`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.bench.fuse_rows import crypto_rows, random_rows
from tests.bench.nbd_rows import nbd_rows
from tests.bench.processes import leave_in_order, scratch
from tests.bench.rows import Runs, Table, heading, line, measure

GROUPS: dict[str, Callable[[Path], AbstractContextManager[Table]]] = {
    "nbd": nbd_rows,
    "random": random_rows,
    "crypto": crypto_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="measure vof beside what one would use instead")
    parser.add_argument(
        "--group", action="append", choices=GROUPS, help="which rows; may be repeated (all)"
    )
    parser.add_argument("--pairs", type=int, default=3, help="alternating runs of each row (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one run (4)")
    parser.add_argument("--json", type=Path, help="also write every run's number to this file")
    options = parser.parse_args()
    if options.pairs < 1 or options.seconds <= 0:
        parser.error("there is nothing to measure in no time")
    leave_in_order()
    today = dt.datetime.now(dt.UTC).date()
    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    print(f"{today}, {os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release()},")
    print(f"load {load};")
    print(f"{options.pairs} alternating runs of {options.seconds:g} s each, medians")
    runs: dict[str, dict[str, Runs]] = {}
    for name, group in GROUPS.items():
        if options.group and name not in options.group:
            continue
        with scratch() as folder, group(folder) as table:
            runs[name] = run(table, options.pairs, options.seconds)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


def run(table: Table, pairs: int, seconds: float) -> dict[str, Runs]:
    """Measure a table's rows, each printed as soon as it is there."""
    runs: dict[str, Runs] = {}
    print(f"\n{heading(table.rows[0])}")
    for row in table.rows:
        runs[row.name] = measure(row, pairs, seconds)
        print(line(row, runs[row.name]), flush=True)
    for note in table.notes:
        print(note)
    return runs


if __name__ == "__main__":
    main()
