# SPDX-License-Identifier: BSD-3-Clause
"""The entry point of vofctl: ``vofctl [GROUP] VERB [OPTION...]``.

A verb is a module with ``add_options``, a group of verbs one with ``add_verbs``; both set ``run``
for each verb: a function that takes the parsed arguments and returns the exit status. Owns how
errors are told; see ``exits``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from vof import __version__
from vof.errors import VofError
from vof.gateways.cli import bench, crypto, decode, doctor, info, validate
from vof.gateways.cli import filter as nbdkit_filter
from vof.gateways.cli.completion import verb as completion
from vof.gateways.cli.exits import Exit, exit_of

VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "info": ("tell what a device is", info.add_options),
    "bench": ("measure a block device, by reading", bench.add_options),
    "doctor": ("find what keeps this machine from using devices", doctor.add_options),
    "validate": ("look for mistakes in the configuration", validate.add_options),
    "crypto": ("encrypt, sign and digest on a virtio-crypto", crypto.add_verbs),
    "decode": ("print a capture or a recording", decode.add_options),
    "filter": ("make nbdkit's fast path for this machine", nbdkit_filter.add_verbs),
    "completion": ("print what completes command lines in a shell", completion.add_options),
}
"""Every verb and group: what it is for, and what gives it its options or verbs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = arguments()
    given = parser.parse_args(argv)
    try:
        status = int(given.run(given))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has enough; Python must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except VofError as error:
        return _fail(str(error), exit_of(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}", exit_of(error))


def arguments() -> argparse.ArgumentParser:
    """Return the arguments of every verb."""
    parser = argparse.ArgumentParser(
        prog="vofctl",
        description="Work with remote virtio devices, reached by Virtio-over-Fabrics.",
        epilog="See vofctl(8).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vofctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, (text, add) in VERBS.items():
        add(verbs.add_parser(name, help=text, description=text, allow_abbrev=False))
    return parser


def _fail(text: str, status: Exit) -> int:
    sys.stderr.write(f"vofctl: {text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
