# SPDX-License-Identifier: BSD-3-Clause
"""A parser of arguments that says which verb, option or value was likely meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from vof.gateways.suggestion import likely, unknown


class Parser(argparse.ArgumentParser):
    """The parser of vofctl, and of each of its verbs. Abbreviated options are not taken."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    # By whoever parses, for itself and for the verbs below it: each tells of its own options.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as inherited, but leave nothing over: the program ends where something would be."""
        given, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}{self._meant(rest)}")
        return given, rest

    def _meant(self, words: Sequence[str]) -> str:
        option = next((word for word in words if word.startswith("-")), "")
        meant = likely(option.partition("=")[0], self._option_string_actions)
        return f"; did you mean {meant}?" if meant else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            is_verb = isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
            what = "verb" if is_verb else "value"
            raise argparse.ArgumentError(action, unknown(what, value, map(str, action.choices)))
