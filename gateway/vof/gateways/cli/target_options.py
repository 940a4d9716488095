# SPDX-License-Identifier: BSD-3-Clause
"""The options by which every verb reaches a device: ``--tvqn`` and the other session parameters."""

from __future__ import annotations

import argparse

from vof.initiator.parameters import PARAMETERS, SessionParameters

DEFAULT_TIMEOUT = "30"

_HELP = PARAMETERS | {
    "timeout": f"seconds a request may take (default {DEFAULT_TIMEOUT}; 0: no limit)"
}


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Give a verb the options."""
    group = parser.add_argument_group("target")
    for key, text in _HELP.items():
        option = f"--{key.replace('_', '-')}"
        group.add_argument(option, metavar=key.upper(), help=text, required=key == "tvqn")


def target_parameters(arguments: argparse.Namespace) -> SessionParameters:
    """Return where the options lead to. Raises ConfigError."""
    parameters = SessionParameters()
    parameters.set("timeout", DEFAULT_TIMEOUT)
    for key in PARAMETERS:
        value = getattr(arguments, key)
        if value is not None:
            parameters.set(key, value)
    return parameters
