# SPDX-License-Identifier: BSD-3-Clause
"""Measures the gateways beside what a user would pick instead, in one run.

For each row the sides run in turns, in another order each round; it gives the medians of all sides
and the medians of the rounds' ratios. Nothing is asserted: numbers are for people, and hold for the
machine they were made on.
`make bench ARGS='--group nbd --rows "depth 32" --pairs 5 --plot ratios.png'`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tests.bench import disk_rows, network, plot, render
from tests.bench.accounting import busy_and_stolen
from tests.bench.fuse_rows import crypto_rows, random_rows
from tests.bench.machine import busy_warning, description
from tests.bench.pinning import Cpus, Policy, cpu_sets
from tests.bench.processes import Unavailable, leave_in_order, scratch
from tests.bench.results import GroupResult, Report
from tests.bench.rows import Table, measured
from tests.bench.sides import Setting, image


class Group(NamedTuple):
    title: str
    rows: Callable[[Setting], AbstractContextManager[Table]]
    needs_image: bool = True


GROUPS = {
    "nbd": Group("a remote disk over NBD", disk_rows.nbd_rows),
    "fabric": Group("the fabric alone, one queue", disk_rows.fabric_rows),
    "queues": Group("more virtqueues", disk_rows.queue_rows),
    "initiators": Group("initiators at one target", disk_rows.initiator_rows),
    "random": Group("random bytes", lambda setting: random_rows(setting.work), needs_image=False),
    "crypto": Group(
        "encryption and digests", lambda setting: crypto_rows(setting.work), needs_image=False
    ),
}

ON_REQUEST = (disk_rows.PYTHON, disk_rows.FABRIC_PYTHON)
SIDES = (
    disk_rows.PROXY,
    disk_rows.PLAIN,
    disk_rows.FAST,
    disk_rows.PYTHON,
    disk_rows.FILE,
    disk_rows.QEMU,
    disk_rows.FABRIC,
    disk_rows.FABRIC_PYTHON,
    disk_rows.TGT,
)


def main() -> None:
    options = parse()
    try:
        if options.tcp and not options.replay:
            network.enter(options.tcp, sys.argv[1:])
        leave_in_order()
        if options.table:
            render.check_table(options.table)
        if options.plot:
            plot.require()
        report = load(options.replay) if options.replay else run(options)
        if options.replay:
            show(report)
        write(report, options)
    except Unavailable as reason:
        sys.exit(f"bench: {reason}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="measure vof beside what one would use instead",
        epilog="everything takes about 20 minutes",
    )
    add = parser.add_argument
    add("--group", action="append", choices=GROUPS, help="which rows; may be repeated (all)")
    add("--rows", metavar="PATTERN", default="", help="only rows whose name has this expression")
    add(
        "--sides",
        metavar="SIDE,...",
        type=side_names,
        help=f"which columns of the groups about disks (all but {' and '.join(ON_REQUEST)}): "
        f"{', '.join(SIDES)}; a hyphen may stand for a space",
    )
    add("--with-python", action="store_true", help="also our data path forced to be Python")
    add("--pairs", type=int, default=5, help="rounds: runs of each side in each row (5)")
    add("--seconds", type=float, default=2.0, help="length of one run (2)")
    add(
        "--pin",
        type=Policy,
        choices=Policy,
        default=Policy.HOSTS,
        metavar="|".join(policy.value for policy in Policy),
        help="CPUs: half for each of the two hosts there would be, or any (hosts)",
    )
    add(
        "--tcp",
        metavar="NAME",
        help="TCP congestion control, in a network namespace of its own (the machine's); "
        "needs root",
    )
    add("--json", type=Path, metavar="FILE", help="write every run's number")
    add("--table", type=Path, metavar="FILE", help="write Markdown, to its place in the file")
    add("--plot", type=Path, metavar="FILE.png", help="draw the ratios of the group nbd")
    add("--from", type=Path, metavar="FILE", dest="replay", help="show a --json file again")
    options = parser.parse_args()
    if options.pairs < 1 or options.seconds <= 0:
        parser.error("there is nothing to measure in no time")
    try:
        re.compile(options.rows)
    except re.error as error:
        parser.error(f"--rows: {error}")
    for path in (options.json, options.table, options.plot):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no such folder")
    return options


def side_names(text: str) -> frozenset[str]:
    """Return the columns of a list, which may be spelt with hyphens."""
    known = {name.replace(" ", "-"): name for name in SIDES}
    names = [name.strip().replace(" ", "-") for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no side is called {unknown[0]!r}; there are {', '.join(known)}"
        )
    return frozenset(known[name] for name in names)


def run(options: argparse.Namespace) -> Report:
    """Measure, and print each row as soon as it is there."""
    cpus = cpu_sets(options.pin)
    report = Report(
        [
            *description(),
            f"{options.pairs} rounds of runs of {options.seconds:g} s, medians; {cpus}",
        ]
    )
    print("\n".join(report.about), flush=True)
    if warning := busy_warning():
        print(warning, flush=True)
        report.about.insert(-1, warning)
    before, start = busy_and_stolen(), time.monotonic()
    for name, group in GROUPS.items():
        if not options.group or name in options.group:
            report.groups[name] = run_group(group, options, cpus)
    after = busy_and_stolen()
    stolen = (after[1] - before[1]) / max(after[2] - before[2], 1e-9)
    last = f"took {(time.monotonic() - start) / 60:.1f} minutes; {stolen:.1%} of the CPUs stolen"
    report.about[-1] += f"; {last}"
    print(f"\n{last}")
    return report


def run_group(group: Group, options: argparse.Namespace, cpus: Cpus) -> GroupResult:
    wanted = options.sides or frozenset(SIDES) - (
        frozenset() if options.with_python else frozenset(ON_REQUEST)
    )
    result = GroupResult(group.title, [], {})
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(scratch())
        disk = stack.enter_context(image(work)) if group.needs_image else work
        try:
            setting = Setting(work, disk, cpus, wanted, stack)
            table = stack.enter_context(group.rows(setting))
        except Unavailable as reason:
            result.notes.append(f"no rows of this group: {reason}")
            print(f"\n{group.title}\n{result.notes[0]}")
            return result
        chosen = [row for row in table.rows if re.search(options.rows, row.name)]
        table = replace(table, rows=chosen)
        result.columns, result.notes = list(table.columns), list(table.notes)
        result.ratios = {column: (of, to) for column, (of, to) in table.ratios.items()}
        if chosen:
            measure(table, options, result)
    return result


def measure(table: Table, options: argparse.Namespace, result: GroupResult) -> None:
    print(f"\n{render.heading(result)}", flush=True)
    for row in measured(table, options.pairs, options.seconds):
        result.rows.append(row)
        print(render.line(result, row), flush=True)
    result.notes += failures(result)
    if table.remarks:
        result.notes += table.remarks(result.rows)
    if table.memory:
        result.memory = dict(table.memory())
    print("\n".join(render.extras(result)), flush=True)


def failures(result: GroupResult) -> list[str]:
    """Say which columns, or cells, are empty and why; one line where the reason is the same."""
    said = []
    for column in result.columns:
        reasons: dict[str, list[str]] = {}
        for row in result.rows:
            if column in row.failures:
                reasons.setdefault(row.failures[column], []).append(row.name)
        for reason, rows in reasons.items():
            if len(rows) == len(result.rows):
                said.append(f"no column {column}: {reason}")
            else:
                said.append(f"no {column} in {'; '.join(rows)}: {reason}")
    return said


def load(path: Path) -> Report:
    try:
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unavailable(f"{path} is not what --json writes: {error}") from error


def show(report: Report) -> None:
    print("\n".join(report.about))
    for group in report.groups.values():
        print(f"\n{render.heading(group)}")
        for row in group.rows:
            print(render.line(group, row))
        print("\n".join(render.extras(group)))


def write(report: Report, options: argparse.Namespace) -> None:
    """Write the files asked for; a picture that cannot be drawn must not cost the others."""
    picture = options.plot
    try:
        if options.json:
            options.json.write_text(json.dumps(report.to_json(), indent=1) + "\n")
        if picture:
            try:
                plot.write_plot(picture, report)
            except Unavailable as reason:
                print(f"no picture: {reason}")
                picture = None
        if options.table:
            render.write_table(options.table, report, picture)
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error


if __name__ == "__main__":
    main()
