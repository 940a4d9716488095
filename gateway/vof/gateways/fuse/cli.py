# SPDX-License-Identifier: BSD-3-Clause
"""The vof-mount program: its start, background, log and exit status. See vof-mount(1).

mount(8) runs it too: as /sbin/mount.fuse.vof for the type ``fuse.vof``, with options of its own, or
through mount.fuse3(8) for the type ``fuse.vof-mount``, as a user would.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vof.descriptors import limit, raise_limit, too_few
from vof.errors import VofError
from vof.gateways.fuse.arguments import arguments, helper_arguments
from vof.gateways.fuse.configured import Configured, by_mountpoint, by_name
from vof.gateways.fuse.daemon import in_background
from vof.gateways.fuse.options import MountOptions, mount_options
from vof.gateways.settings.merged import load
from vof.logline import LineFormatter, is_journal, printable
from vof.notify import notify

HELPER_PREFIX = "mount."
"""Under a name that starts like this, mount(8) has called."""

SYSLOG = "/dev/log"

MIN_DESCRIPTORS = 24
"""File descriptors that a mount of one device needs, and a few for more."""


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run the program; return its exit status."""
    program = program or Path(sys.argv[0]).name
    helper = program.startswith(HELPER_PREFIX)
    parser = helper_arguments(program) if helper else arguments()
    given = parser.parse_args(argv)
    if not helper and bool(given.words) == bool(given.config):
        parser.error("either MOUNTPOINT or -c NAME is needed")
    wants_trace = not helper and given.trace
    try:
        found = _configured(given)
        words = given.words or [found.mountpoint]
        option_lists = [*given.options, "trace=yes"] if wants_trace else given.options
        options = mount_options(words, option_lists, found.options, found.tvqns)
    except VofError as error:
        return _fail(str(error))
    if helper and given.fake:
        return 0
    raise_limit()
    if limit() < MIN_DESCRIPTORS:
        return _fail(too_few())
    # Before the background's change to /.
    options.mountpoint = str(Path(options.mountpoint).absolute())
    if not helper and given.foreground:
        return _fail(_serve(options, lambda: _tell_systemd(options), background=False))
    return _fail(in_background(lambda ready: _serve(options, ready, background=True)))


def _configured(given: argparse.Namespace) -> Configured:
    """Return what the configuration says of the mount that is meant. Raises ConfigError."""
    settings = load()
    if given.words:
        return by_mountpoint(settings, given.words[-1])
    return by_name(settings, given.config)


def _tell_systemd(options: MountOptions) -> None:
    notify(f"READY=1\nSTATUS=mounted on {printable(options.mountpoint)}")


def _serve(options: MountOptions, ready: Callable[[], None], *, background: bool) -> str | None:
    _log(background=background)
    if options.trace:
        from vof.trace.initiator import InitiatorTaps  # noqa: PLC0415 - only who wants it

        try:
            options.parameters.taps = InitiatorTaps.open(options.trace)
        except VofError as error:
            return str(error)
    # Not before the fork: neither trio nor pyfuse3 is made to live through one.
    from vof.gateways.fuse.service import run  # noqa: PLC0415

    return run(options, ready)


def _log(*, background: bool) -> None:
    handler: logging.Handler
    if not background:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter("vof-mount: ", journal=is_journal(2)))
    elif Path(SYSLOG).exists():
        handler = logging.handlers.SysLogHandler(SYSLOG, logging.handlers.SysLogHandler.LOG_DAEMON)
        handler.setFormatter(LineFormatter(f"vof-mount[{os.getpid()}]: "))
    else:
        handler = logging.NullHandler()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False


def _fail(wrong: str | None) -> int:
    if wrong is None:
        return 0
    sys.stderr.write(f"vof-mount: {printable(wrong)}\n")
    return 1
