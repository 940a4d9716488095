# SPDX-License-Identifier: BSD-3-Clause
"""The arguments of vof-mount: those of a user, and those of mount(8), which runs it as a helper.

Owns that options and names stand in any order, as everywhere where getopt_long(3) reads them. Must
not know what an option of ``-o`` means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

from vof import __version__
from vof.gateways.settings.keys import MOUNT, MOUNT_FLAGS


class Parser(argparse.ArgumentParser):
    """A parser that takes options between names as well; behind ``--`` there are names alone.

    By itself argparse has all names together, and gives back what comes behind another option.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Read the words as inherited, but with the options in front."""
        options: list[str] = []
        names: list[str] = []
        words = iter(sys.argv[1:] if args is None else args)
        for word in words:
            if word == "--":
                names += words
            elif self._is_option(word):
                options += (word, *islice(words, self._wants_value(word)))
            else:
                names.append(word)
        return super().parse_known_args([*options, *(["--"] if names else []), *names], namespace)

    def _is_option(self, word: str) -> bool:
        known = self._option_string_actions
        if word.partition("=")[0] in known or word[:2] in known:
            return True
        # As argparse sees it: a typing mistake, unless it looks as only a name can.
        is_name = word == "-" or " " in word or word[1:].replace(".", "").isdigit()
        return word.startswith("-") and not is_name

    def _wants_value(self, word: str) -> bool:
        """Return whether the next word is the value of an option, or of the last of a cluster."""
        known = self._option_string_actions
        if word.startswith("--"):
            return word in known and known[word].nargs != 0
        for place, letter in enumerate(word[1:], 2):
            action = known.get(f"-{letter}")
            if action is None:
                return False
            if action.nargs != 0:
                return place == len(word)
        return False


def arguments() -> argparse.ArgumentParser:
    """Return the arguments of a user's call."""
    parser = Parser(
        prog="vof-mount",
        usage="vof-mount [-f] [--trace] [-o OPTIONS] [TVQN...] MOUNTPOINT\n"
        "       vof-mount [-f] [--trace] [-o OPTIONS] -c NAME",
        description="Show remote virtio devices, reached by Virtio-over-Fabrics, as files.",
        epilog="\n".join(
            (
                "OPTIONS, separated by commas:",
                *(
                    f"  {key if key in MOUNT_FLAGS else key + '=':13} {each.text}"
                    for key, each in MOUNT.items()
                ),
                "",
                "`fusermount3 -u MOUNTPOINT` or `umount MOUNTPOINT` ends it. See vof-mount(1).",
            )
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="*", metavar="[TVQN...] MOUNTPOINT", help="the devices, and where"
    )
    parser.add_argument(
        "-c", "--config", metavar="NAME", help="the mount that vof.conf(5) calls so"
    )
    parser.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTIONS", help="see below"
    )
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground, log to stderr"
    )
    parser.add_argument("--trace", action="store_true", help="the same as -o trace=yes")
    parser.add_argument("--version", action="version", version=f"vof-mount {__version__}")
    return parser


def helper_arguments(program: str) -> argparse.ArgumentParser:
    """Return the arguments of a mount helper, as mount(8) gives them."""
    parser = Parser(prog=program)
    parser.add_argument("words", nargs=2, metavar="SOURCE MOUNTPOINT")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="OPTIONS")
    parser.add_argument("-f", dest="fake", action="store_true", help="only look at the options")
    parser.add_argument("-s", dest="sloppy", action="store_true", help="no effect")
    parser.add_argument("-n", dest="no_mtab", action="store_true", help="no effect")
    parser.add_argument("-v", dest="verbose", action="store_true", help="no effect")
    parser.add_argument("-t", dest="type", help="no effect")
    parser.add_argument("-N", dest="namespace", help="no effect: mount(8) is in it already")
    return parser
