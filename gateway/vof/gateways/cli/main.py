# SPDX-License-Identifier: BSD-3-Clause
"""The entry point of vofctl. Owns how a verb is run and how errors are told; see ``exits``.

A verb whose arguments have a ``hint`` is asked by it for what to add to an error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vof.descriptors import explain
from vof.errors import VofError
from vof.gateways.cli.arguments import arguments
from vof.gateways.cli.exits import Exit, exit_of
from vof.gateways.cli.output import tell_error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    given = arguments(words).parse_args(words)
    try:
        return int(given.run(given))
    except VofError as error:
        hint = getattr(given, "hint", None)
        return _fail(f"{error}{hint(given, error) if hint else ''}", exit_of(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{explain(error)}", exit_of(error))


def _fail(text: str, status: Exit) -> int:
    tell_error(text)
    return status
