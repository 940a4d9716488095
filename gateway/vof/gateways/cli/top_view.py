# SPDX-License-Identifier: BSD-3-Clause
"""Makes what ``vofctl top`` shows of a program out of the samples of one scrape, or of two.

With two it is what happened between them, per second; with one all since the program began. Must
not know where the samples come from nor what a terminal is. Words come from a peer, and stay on
their line.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from vof.gateways.cli.output import width_of
from vof.gateways.cli.scrape import Sample
from vof.logline import printable

PREFIXES = ("vof", "vof_target")

QUIET_EVENTS = frozenset({"metrics", "opened", "closed", "connected", "disconnected", "leaving"})
"""What goes on all the time, and needs nobody."""

HEADINGS = ("DEVICE", "TYPE", "REQUESTS", "BYTES", "ERRORS", "MEAN", "P50", "P99")
RATE_HEADINGS = ("DEVICE", "TYPE", "REQ/S", "BYTES/S", "ERR/S", "MEAN", "P50", "P99")


@dataclass
class Row:
    """Requests of one type to one device."""

    requests: float = 0
    data_bytes: float = 0
    errors: float = 0
    seconds: float = 0
    buckets: dict[float, float] = field(default_factory=dict)
    """How many took at most so many seconds."""

    def since(self, before: Row) -> Row:
        """Return what came after ``before``; all of it where the program has begun anew."""
        if before.requests > self.requests:
            return self
        return Row(
            self.requests - before.requests,
            max(0.0, self.data_bytes - before.data_bytes),
            max(0.0, self.errors - before.errors),
            max(0.0, self.seconds - before.seconds),
            {
                bound: max(0.0, number - before.buckets.get(bound, 0))
                for bound, number in self.buckets.items()
            },
        )

    @property
    def answered(self) -> float:
        """The number of those that took a known time."""
        return max(self.buckets.values(), default=0)

    def quantile(self, share: float) -> float | None:
        """Return seconds within which that share was answered, up to the bucket's bound."""
        bounds = sorted(self.buckets)
        numbers = [self.buckets[bound] for bound in bounds]
        if not self.answered:
            return None
        return bounds[min(bisect_left(numbers, share * self.answered), len(bounds) - 1)]


@dataclass
class View:
    """A program at one moment."""

    program: str = "?"
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    events: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> View:
        """Return the view that the samples make; what is not ours is left out."""
        view = cls()
        for sample in samples:
            view._take(sample)
        return view

    def _take(self, sample: Sample) -> None:
        labels, value = sample.labels, sample.value
        if sample.name == "vof_info":
            self.program = f"{labels.get('program', '?')} {labels.get('version', '?')}"
        elif sample.name == "vof_events_total":
            name = labels.get("event", "?")
            self.events[name] = self.events.get(name, 0) + value
        elif sample.name in _GAUGES:
            name = _GAUGES[sample.name]
            self.gauges[name] = self.gauges.get(name, 0) + value
        elif sample.name in _ROWS:
            row = self.rows.setdefault((labels.get("tvqn", "?"), labels.get("type", "?")), Row())
            what = _ROWS[sample.name]
            if what == "buckets":
                bound = float(labels.get("le", "nan"))
                row.buckets[bound] = row.buckets.get(bound, 0) + value
            else:
                setattr(row, what, getattr(row, what) + value)


_GAUGES = {
    "vof_sessions": "sessions",
    "vof_queues": "queues",
    "vof_in_flight": "in flight",
    "vof_waiting": "waiting",
    "vof_target_associations": "associations",
    "vof_target_connections": "connections",
    "vof_target_in_flight": "in flight",
}

_ROWS = {
    f"{prefix}_{name}": what
    for prefix in PREFIXES
    for name, what in (
        ("requests_total", "requests"),
        ("request_bytes_total", "data_bytes"),
        ("request_errors_total", "errors"),
        ("request_seconds_sum", "seconds"),
        ("request_seconds_bucket", "buckets"),
    )
}


def describe(view: View) -> dict[str, Any]:
    """Return it in the form of the JSON: everything since the program began."""
    return {
        "program": view.program,
        "now": {name.replace(" ", "_"): _whole(number) for name, number in view.gauges.items()},
        "events": {name: _whole(number) for name, number in view.events.items()},
        "requests": [
            {
                "tvqn": tvqn,
                "type": kind,
                "requests": _whole(row.requests),
                "bytes": _whole(row.data_bytes),
                "errors": _whole(row.errors),
                "latency_us": {
                    "mean": _microseconds(row.seconds / row.answered if row.answered else None),
                    "p50": _microseconds(row.quantile(0.5)),
                    "p99": _microseconds(row.quantile(0.99)),
                },
            }
            for (tvqn, kind), row in sorted(view.rows.items())
        ],
    }


def _whole(number: float) -> int | None:
    """Return None where a program says that it is no number."""
    return int(number) if isfinite(number) else None


def _microseconds(seconds: float | None) -> float | None:
    """Return None where it is not known: nothing was answered, or not within the last bound."""
    return None if seconds is None or not isfinite(seconds) else round(seconds * 1e6, 1)


def show(view: View, before: View | None = None, seconds: float = 0.0) -> Iterator[str]:
    """Yield the lines for people."""
    words = [f"{number:.0f} {name}" for name, number in view.gauges.items()]
    yield printable(f"{view.program}: {', '.join(words) or 'no sessions'}")
    noted = {name: number for name, number in view.events.items() if name not in QUIET_EVENTS}
    if noted:
        yield printable(
            "events: " + ", ".join(f"{name} {number:.0f}" for name, number in noted.items())
        )
    rates = before is not None and seconds > 0
    table: list[Sequence[str]] = [RATE_HEADINGS if rates else HEADINGS]
    for place, row in sorted(view.rows.items()):
        change = row
        if before is not None:
            change = row.since(before.rows.get(place, Row()))
        table.append((*map(printable, place), *_cells(change, seconds if rates else None)))
    if len(table) > 1:
        yield from _columns(table)


def _cells(row: Row, seconds: float | None) -> Iterator[str]:
    for number in (row.requests, row.data_bytes, row.errors):
        yield _number(number / seconds if seconds else number)
    yield _time(row.seconds / row.answered if row.answered else None)
    yield _time(row.quantile(0.5))
    yield _time(row.quantile(0.99))


def _number(value: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if value < 9999.5:
            return f"{value:.0f}{unit}" if not unit or value >= 99.95 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.0f}P"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds == float("inf"):
        return ">16s"
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            return f"{seconds * scale:.3g}{unit}"
    return f"{seconds:.3g}s"


def _columns(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - width_of(cell))
            cells.append(cell + space if place < 2 else space + cell)
        yield "  ".join(cells).rstrip()
