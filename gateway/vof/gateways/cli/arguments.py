# SPDX-License-Identifier: BSD-3-Clause
"""The arguments of vofctl: ``vofctl [GROUP] VERB [OPTION...]``.

A verb is a module with ``add_options``, a group of verbs one with ``add_verbs``; both set ``run``
for each verb: a function that takes the parsed arguments and returns the exit status. A verb that
needs the arguments of all verbs finds what makes them in the parsed ones, as ``arguments``: it must
not import this module, which knows it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vof import __version__
from vof.gateways.cli.parser import Parser
from vof.gateways.cli.verbs import OVERVIEW, VERBS


def arguments(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the arguments of every verb; with a command line, in full only of the one in it."""
    parser = Parser(
        prog="vofctl",
        description="Work with remote virtio devices, reached by Virtio-over-Fabrics.",
        epilog=f"See {OVERVIEW}(8).",
    )
    parser.set_defaults(arguments=arguments)
    parser.add_argument("--version", action="version", version=f"vofctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, verb in VERBS.items():
        child = verbs.add_parser(
            name, help=verb.text, description=verb.text, epilog=f"See {verb.page}(8)."
        )
        if words is None or name in words:
            verb.add(child)
    return parser
