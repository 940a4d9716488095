# SPDX-License-Identifier: BSD-3-Clause
"""One picture of the results: what each side reaches relative to nbdkit's own proxy.

matplotlib is not among what `make check` needs: without it there is no picture, and a line says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.processes import Unavailable
from tests.bench.results import GroupResult, Report

GROUP = "nbd"

STYLES = {
    "vof fast": ("#d1495b", "o"),
    "vof plain": ("#00798c", "s"),
    "vof python": ("#66a182", "D"),
    "nbdkit file": ("#8d96a3", "^"),
    "qemu-nbd": ("#edae49", "v"),
}
"""The colours and marks of columns; of any other, grey."""

SPREAD = 0.5
"""Of a row's height, what its sides take."""
TICKS = (0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20)


def require() -> None:
    """Raise Unavailable if there is nothing to plot with."""
    _pyplot()


def write_plot(path: Path, report: Report) -> None:
    """Write a PNG. Raises Unavailable if there is nothing to plot, or nowhere to put it."""
    group = report.groups.get(GROUP)
    columns = [column for column in group.columns if _is_there(group, column)] if group else []
    if group is None or not columns:
        raise Unavailable(f"the group {GROUP} has no ratios to plot")
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(10, 1.6 + 0.58 * len(group.rows)))
    try:
        _draw(axes, group, columns)
        figure.suptitle("Throughput relative to nbdkit nbd → nbdkit file", fontsize=13, x=0.52)
        # The date and the machine, and how it was measured: the first line and the last.
        about = (
            "\n".join(dict.fromkeys((report.about[0], report.about[-1]))) if report.about else ""
        )
        figure.text(0.01, 0.01, about, fontsize=7, color="#555555")
        figure.tight_layout(rect=(0, 0.035, 1, 1))
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    finally:
        pyplot.close(figure)


def _draw(axes: Any, group: GroupResult, columns: Sequence[str]) -> None:
    step = SPREAD / max(len(columns) - 1, 1)
    height = 0.8 * min(step, 0.3)
    for place, column in enumerate(columns):
        colour, mark = STYLES.get(column, ("#555555", "x"))
        shift = place * step - SPREAD / 2 if len(columns) > 1 else 0.0
        label = column
        for y, row in enumerate(group.rows):
            ratios = row.ratios(*group.ratios[column])
            threshold = row.thresholds.get(column)
            if threshold is not None:
                axes.plot(
                    [threshold] * 2, [y + shift - height, y + shift + height],
                    color=colour, linewidth=3, alpha=0.8, solid_capstyle="butt", zorder=2,
                )  # fmt: skip
            middle = row.ratio(*group.ratios[column])
            if middle is None:
                continue
            axes.plot([min(ratios), max(ratios)], [y + shift] * 2, color=colour, linewidth=1.2,
                      alpha=0.6, zorder=3)  # fmt: skip
            axes.plot(middle, y + shift, mark, color=colour, markersize=6.5, label=label, zorder=4)
            label = "_nolegend_"
    if any(row.thresholds for row in group.rows):
        axes.plot([], [], "|", color="#555555", markersize=12, markeredgewidth=2.5,
                  label="threshold")  # fmt: skip
    _arrange(axes, group)


def _arrange(axes: Any, group: GroupResult) -> None:
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(group.rows)), [row.name for row in group.rows])
    axes.set_ylim(len(group.rows) - 0.5, -0.5)
    for y in range(0, len(group.rows), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f4f6", zorder=0)
    axes.grid(axis="x", color="#d8dadf", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("mark: median of the rounds' ratios, more is better; line: least to most")
    axes.legend(loc="lower center", bbox_to_anchor=(0.42, 1.0), ncols=6, frameon=False)


def _is_there(group: GroupResult, column: str) -> bool:
    return column in group.ratios and any(row.ratios(*group.ratios[column]) for row in group.rows)


def _pyplot() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise Unavailable(f"{error}; `tools/setup.sh bench` installs what it needs") from error
    return plt
