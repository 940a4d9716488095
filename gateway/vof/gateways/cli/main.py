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
from collections.abc import Sequence

from vof import __version__
from vof.errors import VofError
from vof.gateways.cli.exits import Exit, exit_of
from vof.gateways.cli.telling import tell_error
from vof.gateways.cli.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    given = arguments(words).parse_args(words)
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


def arguments(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the arguments of every verb; with a command line, in full only of the one in it."""
    parser = argparse.ArgumentParser(
        prog="vofctl",
        description="Work with remote virtio devices, reached by Virtio-over-Fabrics.",
        epilog="See vofctl(8).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vofctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, (text, add) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        if words is None or name in words:
            add(verb)
    return parser


def _fail(text: str, status: Exit) -> int:
    tell_error(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
