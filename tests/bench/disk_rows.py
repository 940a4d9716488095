# SPDX-License-Identifier: BSD-3-Clause
"""Rows about a remote disk: over NBD, over the fabric alone, with more queues, by more initiators.

What people hope for stands beside the ratios as a threshold; nothing is asserted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from tests.bench import sides
from tests.bench.idle import idle_association
from tests.bench.load_generators import Workload
from tests.bench.processes import Unavailable
from tests.bench.results import RowResult
from tests.bench.rows import Measure, Ratio, Row, Table
from tests.bench.sides import FORCED_PYTHON, Setting, Side

PLAIN, FAST, PYTHON = "vof plain", "vof fast", "vof python"
PROXY, FILE, QEMU = "nbdkit nbd", "nbdkit file", "qemu-nbd"
FABRIC, FABRIC_PYTHON, TGT = "fabric", "fabric python", "tgt"

K4, K64, M1 = 4 << 10, 64 << 10, 1 << 20
DEPTHS = (1, 8, 32, 128)


class Case(NamedTuple):
    workload: Workload
    thresholds: Mapping[str, float]


NBD_CASES = (
    *(
        Case(Workload("randread", K4, depth), goals)
        for depth, goals in zip(
            DEPTHS, ({PLAIN: 1.1, FAST: 1.25}, {}, {PLAIN: 0.9, FAST: 1.5}, {}), strict=True
        )
    ),
    *(
        Case(Workload("randwrite", K4, depth), goals)
        for depth, goals in zip(DEPTHS, ({}, {}, {PLAIN: 0.9, FAST: 1.5}, {}), strict=True)
    ),
    Case(Workload("read", K64, 8), {}),
    Case(Workload("write", K64, 8), {}),
    Case(Workload("read", M1, 8), {PLAIN: 1.0, FAST: 1.1}),
    Case(Workload("write", M1, 8), {PLAIN: 1.0, FAST: 1.1}),
)

FABRIC_CASES = (
    *(
        Case(Workload("randread", K4, depth), {FILE: 0.9} if depth == 32 else {})
        for depth in DEPTHS
    ),
    Case(Workload("randwrite", K4, 1), {}),
    Case(Workload("randwrite", K4, 32), {}),
    Case(Workload("read", K64, 8), {}),
    Case(Workload("read", M1, 8), {}),
    Case(Workload("write", M1, 8), {}),
)

QUEUES = (1, 2, 4)
QUEUES_DEPTH = 32

INITIATORS = (1, 8, 64)
INITIATORS_WORKLOAD = Workload("randread", K4, 8)
SCALING_THRESHOLD = 0.9
IDLE_THRESHOLD = 256


@contextlib.contextmanager
def nbd_rows(setting: Setting) -> Iterator[Table]:
    """The gateway's own business; every ratio is to nbdkit's proxy of its own protocol."""
    found = {
        **setting.side(PROXY, sides.nbdkit_nbd),
        **setting.side(PLAIN, partial(sides.plugin, name="plain")),
        **setting.side(FAST, partial(sides.plugin, name="fast", fast=True)),
        **setting.side(PYTHON, partial(sides.plugin, name="python", environment=FORCED_PYTHON)),
        **setting.side(FILE, sides.nbdkit_file),
        **setting.side(QEMU, sides.qemu_nbd),
    }
    rows = [
        Row(
            workload.name,
            workload.unit,
            {column: side.measure(workload) for column, side in found.items()},
            thresholds,
        )
        for workload, thresholds in NBD_CASES
    ]
    ratios = {column: Ratio(column, PROXY) for column in found if column != PROXY}
    yield Table(rows, list(found), ratios, setting.notes, memory=setting.peak_memory)


@contextlib.contextmanager
def fabric_rows(setting: Setting) -> Iterator[Table]:
    """No gateway on any side: what the engine and the target can do, over one queue."""
    found = _fabric_sides(setting)
    rows = [
        Row(workload.name, workload.unit, _able(found, workload), thresholds)
        for workload, thresholds in FABRIC_CASES
    ]
    ratios = _ours_to_others(found)
    yield Table(rows, list(found), ratios, setting.notes, memory=setting.peak_memory)


@contextlib.contextmanager
def queue_rows(setting: Setting) -> Iterator[Table]:
    """More virtqueues for the same requests; a column for each count."""
    workload = Workload("randread", K4, QUEUES_DEPTH)
    rows = []
    for name in (PLAIN, FAST, FABRIC):
        # All counts of a side or none: its own name is what is asked for, and what is missing.
        found: dict[str, Side] = {}
        for count in QUEUES:
            made = setting.side(name, partial(_with_queues, name, count))
            if not made:
                break
            found[_queues(count)] = made[name]
        else:
            measures = {column: side.measure(workload) for column, side in found.items()}
            rows.append(Row(f"{workload.name}, {name}", workload.unit, measures))
    columns = [_queues(count) for count in QUEUES]
    ratios = {column: Ratio(column, columns[0]) for column in columns[1:]}
    yield Table(rows, columns, ratios, setting.notes)


@contextlib.contextmanager
def initiator_rows(setting: Setting) -> Iterator[Table]:
    """What a target serves in all, by how many initiators ask; the rows are compared, so they
    take turns too."""
    found = _fabric_sides(setting)
    workload = INITIATORS_WORKLOAD
    rows = [
        Row(
            f"{count} initiator{'s' * (count > 1)}, {workload.name}",
            workload.unit,
            _able(found, workload, count),
        )
        for count in INITIATORS
    ]
    yield Table(
        rows,
        list(found),
        _ours_to_others(found),
        setting.notes,
        interleaved=True,
        remarks=lambda results: [*scaling(results, list(found)), *idle_remarks(setting)],
        memory=setting.peak_memory,
    )


def scaling(results: Sequence[RowResult], columns: Sequence[str]) -> list[str]:
    """Say of each side how much of the most it ever served is left with the most initiators."""
    said = []
    for column in columns:
        rounds = list(zip(*(row.runs.get(column, ()) for row in results), strict=True))
        if rounds:
            left = median(
                by_count[-1].value / max(run.value for run in by_count) for by_count in rounds
            )
            hoped = f" (threshold {SCALING_THRESHOLD})" if column == FABRIC else ""
            said.append(
                f"{column}: the total of {INITIATORS[-1]} initiators is {left:.2f} of the peak"
                f"{hoped}"
            )
    return said


def idle_remarks(setting: Setting) -> list[str]:
    if FABRIC not in setting.wanted:
        return []
    said = []
    for queues in (1, 4):
        what = f"an idle association with {queues} virtqueue{'s' * (queues > 1)}"
        try:
            size = idle_association(setting.work, setting.cpus, queues) / 1024
        except Unavailable as reason:
            said.append(f"no memory of {what}: {reason}")
            continue
        hoped = f" (threshold at most {IDLE_THRESHOLD} KiB)"
        said.append(f"{what} costs the target {size:.0f} KiB{hoped}")
    return said


def _fabric_sides(setting: Setting) -> dict[str, Side]:
    return {
        **setting.side(FABRIC, sides.fabric),
        **setting.side(FABRIC_PYTHON, partial(sides.fabric, environment=FORCED_PYTHON)),
        **setting.side(FILE, sides.nbdkit_file),
        **setting.side(TGT, sides.tgt),
    }


def _ours_to_others(found: Mapping[str, Side]) -> dict[str, Ratio]:
    others = [column for column in found if column != FABRIC]
    return {other: Ratio(FABRIC, other) for other in others if FABRIC in found}


def _able(found: Mapping[str, Side], workload: Workload, initiators: int = 1) -> dict[str, Measure]:
    """Return the measurements that a load generator is there for: iscsi-perf does not write."""
    return {
        column: side.measure(workload, initiators)
        for column, side in found.items()
        if column != TGT or workload.direction == "read"
    }


def _with_queues(name: str, count: int, setting: Setting) -> Side:
    if name == FABRIC:
        return sides.fabric(setting, queues=count)
    kind = name.removeprefix("vof ")
    return sides.plugin(setting, f"{kind}-{count}", fast=name == FAST, queues=count)


def _queues(count: int) -> str:
    return f"{count} queue{'s' * (count > 1)}"
