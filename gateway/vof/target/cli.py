# SPDX-License-Identifier: BSD-3-Clause
"""The vof-target program: arguments, log output, signals and exit status.

Owns everything that belongs to the process rather than to a target: where log lines go, which
signals mean what, the sizes the process may have. See vof-target(8).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from vof import __version__
from vof.addresses import parse_address
from vof.descriptors import raise_limit
from vof.errors import VofError
from vof.logline import event, log_to_stderr, logger
from vof.metrics.endpoint import FORM, NOWHERE, Endpoint
from vof.notify import notify
from vof.program import ENDING, orders, say, undone
from vof.target.clock import Clock
from vof.target.config import Config, Settings, load
from vof.target.listening import check as check_listening
from vof.target.server import STOP_TIMEOUT, Target, close_all, open_devices
from vof.target.taps import Taps
from vof.target.values import ports

_STACK_SIZE = 512 << 10

Words: TypeAlias = Callable[[str, Sequence[int]], str]
"""Returns what is said of a target with this address and these ports before it listens."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = _arguments()
    options = parser.parse_args(argv)
    _check_usage(parser, options)
    log_to_stderr("vof-target: ", logging.DEBUG if options.verbose else logging.WARNING)
    try:
        if options.check:
            return _check(options.check)
        if options.demo is None:
            return _run(load(options.config), options.config, trace=options.trace)
        return _run_demo(options)
    except VofError as error:
        logger.error("%s", error)
        return 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vof-target",
        description="Serve virtio devices to Virtio-oF initiators over TCP and RDMA.",
        epilog="SIGHUP reads CONFIG again, SIGTERM finishes what is in flight. See vof-target(8).",
        allow_abbrev=False,
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="what to serve")
    parser.add_argument(
        "--check", type=Path, metavar="CONFIG", help="say whether CONFIG can be served, and exit"
    )
    parser.add_argument(
        "--demo",
        nargs="?",
        const="",
        metavar="DIR",
        help="serve a ready-made set of devices, with images in DIR or else for this run only",
    )
    parser.add_argument(
        "--address",
        type=_address,
        default="127.0.0.1",
        help="with --demo: where to listen (%(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_ports,
        default=Settings.ports,
        metavar="PORT[,PORT...]",
        help=f"with --demo: where to listen ({Settings().port}); 0 takes a free port",
    )
    parser.add_argument(
        "--metrics",
        type=_metrics,
        default=NOWHERE,
        metavar="WHERE",
        help=f"with --demo: where to serve metrics, {FORM} (%(default)s)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="log every connection that comes and goes"
    )
    parser.add_argument(
        "--trace", action="store_true", help="log what initiators say and are told, decoded"
    )
    parser.add_argument("--version", action="version", version=f"vof-target {__version__}")
    return parser


def _address(text: str) -> str:
    try:
        return parse_address(text, "--address", "--port")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _ports(text: str) -> tuple[int, ...]:
    try:
        return ports(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _metrics(text: str) -> Endpoint:
    try:
        return Endpoint.parse("--metrics", text)
    except VofError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_usage(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    given = [options.config is not None, options.check is not None, options.demo is not None]
    if sum(given) != 1:
        parser.error("give either CONFIG, --check CONFIG or --demo [DIR]")
    of_demo = (options.address, options.port, options.metrics)
    if options.demo is None and of_demo != ("127.0.0.1", Settings.ports, NOWHERE):
        parser.error("--address, --port and --metrics go with --demo; CONFIG has its own")


def _check(path: Path) -> int:
    config = load(path)
    check_listening(config.settings)
    close_all(open_devices(config.devices, Clock()))
    where = config.settings
    sys.stdout.write(
        f"vof-target: {path} is good: {len(config.devices)} devices at {where.address} "
        f"port {where.port} ({where.transport})\n"
    )
    return 0


def _run_demo(options: argparse.Namespace) -> int:
    # Its devices need all there is, which takes a while to load.
    from vof.target.demo import demo_config, demo_words  # noqa: PLC0415

    with undone(), contextlib.ExitStack() as stack:
        directory = Path(
            options.demo or stack.enter_context(tempfile.TemporaryDirectory(prefix="vof-target-"))
        )
        config = demo_config(directory, options.address, options.port, options.metrics)
        return _run(config, None, partial(demo_words, directory), trace=options.trace)


def _run(
    config: Config, path: Path | None, words: Words | None = None, *, trace: bool = False
) -> int:
    """Serve until SIGTERM or SIGINT."""
    threading.stack_size(_STACK_SIZE)
    raise_limit()
    with contextlib.ExitStack() as stack:
        target = Target(config, _taps() if trace else None)
        expose = _exposition(config, target, stack)
        target.open()
        # Until here a start that hangs is ended at once; from here on somebody may be served.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        # A demonstration has nothing to read again, and is told to go on by nohup(1) alone.
        wait_for_order = orders(
            *(each for each in ENDING if path or each != signal.SIGHUP or not ignored)
        )
        on_terminal = _has_terminal() and not ignored
        target.start()
        _warn_of_few_descriptors(target, config.settings)
        expose()
        _announce(target, words)
        while wait_for_order() == signal.SIGHUP:
            if path is None or (on_terminal and not _has_terminal()):
                break
            _reload(target, path)
        _stop(target)
        return 0


def _taps() -> Taps:
    """Return what shows all that passes. Raises VofError."""
    from vof.trace.place import LOG  # noqa: PLC0415 - only who traces pays for it
    from vof.trace.target import TargetTaps  # noqa: PLC0415

    return TargetTaps.open(LOG)


def _exposition(config: Config, target: Target, stack: contextlib.ExitStack) -> Callable[[], None]:
    """Listen where metrics are wanted, until ``stack`` ends; return what begins to serve them.

    Raises VofError.
    """
    endpoint = config.settings.metrics
    if endpoint == NOWHERE:
        return lambda: None
    from vof.metrics.exposition import Exposition  # noqa: PLC0415 - only who wants it pays for it

    stack.enter_context(undone())  # its socket may be a file
    exposition = Exposition(endpoint, "vof-target", target.metrics)
    stack.callback(exposition.stop)

    def start() -> None:
        exposition.start()
        say(f"vof-target: metrics at {exposition.endpoint}\n")

    return start


def _announce(target: Target, words: Words | None) -> None:
    if words:
        say(words(target.address, target.ports))
    say(f"vof-target: listening on {target.listening_on}\n")
    notify(f"READY=1\nSTATUS=listening on {target.listening_on}")


def _reload(target: Target, path: Path) -> None:
    try:
        config = load(path)
        target.reload(config)
        _warn_of_few_descriptors(target, config.settings)
    except VofError as error:
        event(logging.ERROR, "not-reloaded", reason=f"{error}; nothing was changed")


def _stop(target: Target) -> None:
    notify("STOPPING=1")
    # In a thread of its own, because a disk that hangs must not keep the process.
    stopper = threading.Thread(target=target.stop, name="vof-stop", daemon=True)
    stopper.start()
    stopper.join(STOP_TIMEOUT + 1)


def _warn_of_few_descriptors(target: Target, settings: Settings) -> None:
    capacity, wanted = target.capacity, settings.connections
    if capacity.connections < wanted:
        enough = capacity.wanted(wanted, settings.transports)
        event(
            logging.WARNING,
            "few-descriptors",
            serves=capacity.connections,
            connections=wanted,
            limit=capacity.descriptors,
            reason="connections beyond what it serves are refused; raise the limit of file "
            f"descriptors to {enough} (ulimit -n, or LimitNOFILE= of a unit), or lower connections",
        )


def _has_terminal() -> bool:
    """Return whether the process has a controlling terminal, which has not been hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)  # not known: it goes on as it was
    return True
