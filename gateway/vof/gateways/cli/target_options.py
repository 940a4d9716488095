# SPDX-License-Identifier: BSD-3-Clause
"""The options by which every verb reaches a device: its name, and the other session parameters.

A device is named by its tvqn, or by the name that vof.conf(5) gives it; what the configuration says
of it holds where the command line says nothing.
"""

from __future__ import annotations

import argparse

from vof.errors import ConfigError, ConnectError, VofError
from vof.gateways.settings import effective
from vof.gateways.settings.effective import Effective
from vof.gateways.settings.keys import CONTROL, DEFAULT_TIMEOUT
from vof.gateways.settings.merged import load
from vof.gateways.suggestion import likely
from vof.initiator.parameters import SessionParameters


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Give a verb the options. One that has an argument ``target`` takes the device there too."""
    group = parser.add_argument_group("target")
    parser.set_defaults(hint=_hint)
    for key, each in CONTROL.items():
        option = f"--{key.replace('_', '-')}"
        group.add_argument(option, metavar=key.upper(), help=each.text)


def _hint(arguments: argparse.Namespace, error: VofError) -> str:
    """Return what to add to an error: a device that is not there may be a name with a mistake."""
    named = getattr(arguments, "target", None) or arguments.tvqn
    if named is None or not isinstance(error, ConnectError):
        return ""
    devices = load().devices
    meant = None if named in devices else likely(named, devices)
    return f"; did you mean '{meant}', which is in vof.conf?" if meant else ""


def add_target_argument(parser: argparse.ArgumentParser) -> None:
    """Give a verb the device as an argument, and the options."""
    parser.add_argument(
        "target", nargs="?", metavar="TVQN|NAME", help="the device; --tvqn does as well"
    )
    add_target_options(parser)


def target_settings(arguments: argparse.Namespace, **overrides: str | None) -> Effective:
    """Return what holds for the device that is meant. Raises ConfigError.

    ``overrides`` are options of the verb itself under their keys in vof.conf, None where they are
    not given.
    """
    given = {key: getattr(arguments, key) for key in CONTROL} | overrides
    named = [name for name in (getattr(arguments, "target", None), given.pop("tvqn")) if name]
    if not named:
        raise ConfigError("no device is named: --tvqn takes its tvqn, or its name in vof.conf")
    if len(named) > 1:
        raise ConfigError(f"two devices are named: {named[0]} and --tvqn {named[1]}")
    return effective.device(
        load(),
        named[0],
        {key: text for key, text in given.items() if text is not None},
        {"timeout": DEFAULT_TIMEOUT},
    )


def target_parameters(arguments: argparse.Namespace) -> SessionParameters:
    """Return where the options lead to. Raises ConfigError."""
    return target_settings(arguments).parameters()
