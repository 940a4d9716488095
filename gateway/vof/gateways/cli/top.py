# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl top``: shows what running programs do, live on a terminal, or once.

Owns the verb's options, which places are looked at, the refresh, and what a program that does not
answer looks like; ``top_view`` makes the lines and the JSON.
"""

from __future__ import annotations

import argparse
import errno
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from vof.errors import ConfigError, VofError
from vof.gateways.cli.attached import add_state_option, state_folder
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_json
from vof.gateways.cli.scrape import scrape
from vof.gateways.cli.top_view import View, describe, show
from vof.initiator.parameters import parse_seconds
from vof.metrics.endpoint import FORM, Endpoint
from vof.program import Interrupted, undone

DEFAULT_INTERVAL = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options; it has no others below it."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "places",
        metavar="PLACE",
        nargs="*",
        help=f"what metrics= says of a program: {FORM} (default: every attached disk's)",
    )
    parser.add_argument(
        "-n",
        "--interval",
        metavar="SECONDS",
        default=str(DEFAULT_INTERVAL),
        help=f"between refreshes, 0.1 to 3600 (default {DEFAULT_INTERVAL:g})",
    )
    parser.add_argument(
        "--once", action="store_true", help="print once, as where stdout is no terminal"
    )
    add_state_option(parser)
    add_output_option(parser)


class Place(NamedTuple):
    """The place of a program's metrics."""

    endpoint: Endpoint
    disk: str = ""
    """The name of the attached disk that it serves."""

    def __str__(self) -> str:
        return f"{self.disk} at {self.endpoint}" if self.disk else str(self.endpoint)


def run(given: argparse.Namespace) -> Exit:
    """Show it. Raises ConfigError."""
    interval = parse_seconds("--interval", given.interval, 0.1, 3600)
    named = [Place(Endpoint.parse("PLACE", text)) for text in given.places]

    def places() -> Sequence[Place]:
        return named or _of_disks(given)

    if wants_json(given):
        return _write_json(places())
    if given.once or not sys.stdout.isatty():
        return _print_once(places())
    try:
        with undone():
            _refresh(places, interval)
    except Interrupted as interrupted:
        if interrupted.number != signal.SIGINT:
            raise
        return Exit.DONE


def _of_disks(given: argparse.Namespace) -> list[Place]:
    """Return where the disks that are attached now have theirs. Raises ConfigError for none."""
    found = [
        Place(Endpoint.parse("metrics", entry.record.metrics), entry.name)
        for entry in state_folder(given).entries()
        if entry.owner is not None and entry.record is not None and entry.record.metrics
    ]
    if not found:
        raise ConfigError("no disk is attached; name the PLACE of a program", errno=errno.ENOENT)
    return found


def _write_json(places: Sequence[Place]) -> Exit:
    status = Exit.DONE
    programs: list[dict[str, Any]] = []
    for place in places:
        about = {"place": str(place.endpoint), "disk": place.disk or None}
        try:
            programs.append(about | {"error": None} | describe(View.of(scrape(place.endpoint))))
        except VofError as error:
            programs.append(about | {"error": str(error)})
            status = Exit.UNREACHABLE
    write_json({"programs": programs})
    return status


def _print_once(places: Sequence[Place]) -> Exit:
    status = Exit.DONE
    for place in places:
        try:
            view = View.of(scrape(place.endpoint))
        except VofError as error:
            sys.stdout.flush()
            sys.stderr.write(f"vofctl: {error}\n")
            status = Exit.UNREACHABLE
        else:
            sys.stdout.write("".join(f"{line}\n" for line in (f"{place}", *show(view))))
    return status


def _refresh(places: Callable[[], Sequence[Place]], interval: float) -> NoReturn:
    before: dict[Place, tuple[float, View]] = {}
    while True:
        lines: list[str] = []
        for place in places():
            try:
                view, now = View.of(scrape(place.endpoint)), time.monotonic()
            except VofError as error:
                lines += [str(error), ""]
                before.pop(place, None)
                continue
            then, earlier = before.get(place, (now, None))
            lines += [str(place), *show(view, earlier, now - then), ""]
            before[place] = now, view
        columns, rows = shutil.get_terminal_size()
        shown = [line[:columns] for line in lines[: rows - 1]]
        sys.stdout.write(_CLEAR + "".join(f"{line}\n" for line in shown))
        sys.stdout.flush()
        time.sleep(interval)
