# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl top``: what running programs do, live on a terminal, or once.

Owns the verb's options, the refresh, and what a program that does not answer looks like;
``top_view`` makes the lines.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from vof.errors import ConfigError, VofError
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.scrape import scrape
from vof.gateways.cli.top_view import View, show
from vof.metrics.endpoint import FORM, Endpoint

DEFAULT_INTERVAL = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options; it has no others below it."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "places", metavar="PLACE", nargs="+", help=f"what metrics= says of a program: {FORM}"
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


def run(given: argparse.Namespace) -> Exit:
    """Show it. Raises ConfigError."""
    places = [Endpoint.parse("PLACE", text) for text in given.places]
    interval = _interval(given.interval)
    if given.once or not sys.stdout.isatty():
        return _print_once(places)
    try:
        _refresh(places, interval)
    except KeyboardInterrupt:
        return Exit.DONE


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise ConfigError(f"--interval {text}: not a number of seconds from 0.1 to 3600")
    return seconds


def _print_once(places: Sequence[Endpoint]) -> Exit:
    status = Exit.DONE
    for place in places:
        try:
            view = View.of(scrape(place))
        except VofError as error:
            sys.stdout.flush()
            sys.stderr.write(f"vofctl: {error}\n")
            status = Exit.UNREACHABLE
        else:
            sys.stdout.write("".join(f"{line}\n" for line in (f"{place}", *show(view))))
    return status


def _refresh(places: Sequence[Endpoint], interval: float) -> NoReturn:
    before: dict[Endpoint, tuple[float, View]] = {}
    while True:
        lines: list[str] = []
        for place in places:
            try:
                view, now = View.of(scrape(place)), time.monotonic()
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
