# SPDX-License-Identifier: BSD-3-Clause
"""The vof-mount program: arguments, background, log, exit status. See vof-mount(1).

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

from vof import __version__
from vof.errors import ConfigError, VofError
from vof.gateways.fuse.daemon import in_background
from vof.gateways.fuse.options import FLAGS, OPTIONS, MountOptions, mount_options
from vof.gateways.settings import effective
from vof.gateways.settings.merged import load
from vof.gateways.settings.schema import parse_tvqns
from vof.notify import notify

HELPER_PREFIX = "mount."
"""Under a name that starts like this, mount(8) has called."""

SYSLOG = "/dev/log"


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run the program; return its exit status."""
    program = program or Path(sys.argv[0]).name
    helper = program.startswith(HELPER_PREFIX)
    parser = helper_arguments(program) if helper else arguments()
    given = parser.parse_args(argv)
    try:
        if not helper and given.config is not None:
            options = _configured(given.config, given.words, given.options)
        elif given.words:
            options = mount_options(given.words, given.options)
        else:
            raise ConfigError("name a mountpoint, or a mount of vof.conf with --config")
    except VofError as error:
        return _fail(str(error))
    if helper and given.fake:
        return 0
    # Before the background's change to /.
    options.mountpoint = str(Path(options.mountpoint).absolute())
    if not helper and given.foreground:
        return _fail(_serve(options, lambda: _tell_systemd(options), background=False))
    return _fail(in_background(lambda ready: _serve(options, ready, background=True)))


def arguments() -> argparse.ArgumentParser:
    """Return the arguments of a user's call."""
    parser = argparse.ArgumentParser(
        prog="vof-mount",
        usage="vof-mount [-f] [-o OPTIONS] [TVQN...] MOUNTPOINT\n"
        "       vof-mount [-f] [-o OPTIONS] --config NAME",
        description="Show remote virtio devices, reached by Virtio-over-Fabrics, as files.",
        epilog="\n".join(
            (
                "OPTIONS, separated by commas:",
                *(
                    f"  {key if key in FLAGS else key + '=':13} {text}"
                    for key, text in OPTIONS.items()
                ),
                "",
                "`fusermount3 -u MOUNTPOINT` or `umount MOUNTPOINT` ends it. See vof-mount(1).",
            )
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "words", nargs="*", metavar="[TVQN...] MOUNTPOINT", help="the devices, and where"
    )
    parser.add_argument("--config", metavar="NAME", help="a mount of vof.conf(5)")
    parser.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTIONS", help="see below"
    )
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground, log to stderr"
    )
    parser.add_argument("--version", action="version", version=f"vof-mount {__version__}")
    return parser


def helper_arguments(program: str) -> argparse.ArgumentParser:
    """Return the arguments of a mount helper, as mount(8) gives them."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    parser.add_argument("words", nargs=2, metavar="SOURCE MOUNTPOINT")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="OPTIONS")
    parser.add_argument("-f", dest="fake", action="store_true", help="only look at the options")
    parser.add_argument("-s", dest="sloppy", action="store_true", help="no effect")
    parser.add_argument("-n", dest="no_mtab", action="store_true", help="no effect")
    parser.add_argument("-v", dest="verbose", action="store_true", help="no effect")
    parser.add_argument("-t", dest="type", help="no effect")
    parser.add_argument("-N", dest="namespace", help="no effect: mount(8) is in it already")
    return parser


def _configured(name: str, words: Sequence[str], option_lists: Sequence[str]) -> MountOptions:
    """Return what vof.conf says of the mount; the command line's options come last, and win.

    Raises ConfigError.
    """
    if words:
        raise ConfigError(
            f"--config {name} names devices and mountpoint already: leave out the rest"
        )
    found = effective.mount(load(), name)
    mountpoint = found.text("mountpoint") or ""
    tvqns = parse_tvqns("tvqns", found.text("tvqns") or "")
    options = []
    for key, value in found.given(OPTIONS).items():
        if key not in FLAGS:
            options.append(f"{key}={value}")
        elif found.flag(key):
            options.append(key)
    return mount_options([*tvqns, mountpoint], [*options, *option_lists])


def _tell_systemd(options: MountOptions) -> None:
    notify(f"READY=1\nSTATUS=mounted on {options.mountpoint}")


def _serve(options: MountOptions, ready: Callable[[], None], *, background: bool) -> str | None:
    _log(background=background)
    # Not before the fork: neither trio nor pyfuse3 is made to live through one.
    from vof.gateways.fuse.service import run  # noqa: PLC0415

    return run(options, ready)


def _log(*, background: bool) -> None:
    handler: logging.Handler
    if not background:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("vof-mount: %(message)s"))
    elif Path(SYSLOG).exists():
        handler = logging.handlers.SysLogHandler(SYSLOG, logging.handlers.SysLogHandler.LOG_DAEMON)
        handler.setFormatter(logging.Formatter(f"vof-mount[{os.getpid()}]: %(message)s"))
    else:
        handler = logging.NullHandler()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False


def _fail(wrong: str | None) -> int:
    if wrong is None:
        return 0
    sys.stderr.write(f"vof-mount: {wrong}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
