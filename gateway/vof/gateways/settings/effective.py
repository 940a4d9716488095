# SPDX-License-Identifier: BSD-3-Clause
"""The values that hold for one device or mount, each with the place it comes from.

Owns the precedence: command line, then the section of that name, then [defaults], then what is
built in, where /etc/vof/initiator-name gives the ivqn. Only a name selects a section; a tvqn alone
gets [defaults].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vof.errors import ConfigError
from vof.gateways.settings.keys import DEFAULT_TIMEOUT
from vof.gateways.settings.local_name import unescaped
from vof.gateways.settings.merged import DEFAULTS, Id, Settings
from vof.gateways.settings.origin import BUILT_IN, COMMAND_LINE, Source, Value
from vof.gateways.settings.schema import KEYS, Kind
from vof.gateways.settings.values import parse_flag
from vof.gateways.suggestion import likely
from vof.initiator.parameters import (
    DEFAULT_ADDRESS,
    PARAMETERS,
    SessionParameters,
    parse_integer,
)
from vof.wire.constants import DEFAULT_PORT
from vof.wire.names import check_name

BUILT_IN_VALUES: Mapping[str, str] = {
    "taddr": DEFAULT_ADDRESS,
    "tport": str(DEFAULT_PORT),
    "transport": SessionParameters.transport,
    "iport": "0",
    "dialect": SessionParameters.dialect,
    "eager": "on",
    "timeout": "0",
    "filter": "auto",
    "readonly": "no",
    "auto": "yes",
    "restart": "yes",
}
"""What holds where nobody says anything; keys that are not here have no value of their own."""


_NOTHING = Value(None, BUILT_IN)


@dataclass(frozen=True)
class Effective:
    """All that holds for one. ``values`` has every key there is, with None for the text of one that
    is not set."""

    name: str | None
    """The section's name; None where a tvqn was given."""
    values: Mapping[str, Value]

    def text(self, key: str) -> str | None:
        """Return a value as it is written, None where it is not set."""
        return self.values[key].text

    def number(self, key: str) -> int | None:
        """Return a value that is a whole number, None where it is not set."""
        text = self.text(key)
        return None if text is None else parse_integer(key, text, 0, 1 << 32)

    def flag(self, key: str) -> bool:
        """Return a value that is yes or no; no where it is not set."""
        text = self.text(key)
        return text is not None and parse_flag(key, text)

    def given(self, keys: Iterable[str]) -> dict[str, str]:
        """Return those of ``keys`` that somebody has set, as text: all but what is built in.

        Others may be among them that no section has.
        """
        return {
            key: value.text
            for key in keys
            if (value := self.values.get(key, _NOTHING)).text is not None
            and value.origin.source is not Source.BUILT_IN
        }

    def parameters(self) -> SessionParameters:
        """Return where a session goes and how. Raises ConfigError without a tvqn."""
        parameters = SessionParameters()
        for key in PARAMETERS:
            text = self.text(key) if key in self.values else None
            if text is not None:
                parameters.set(key, text)
        return parameters


def device(
    settings: Settings,
    target: str,
    overrides: Mapping[str, str] | None = None,
    built_in: Mapping[str, str] | None = None,
) -> Effective:
    """Return what holds for the device that is called ``target``, or whose tvqn that is.

    ``overrides`` come from the command line, ``built_in`` is what a program has for its own.
    Raises ConfigError for a configuration with something wrong that concerns this device.
    """
    name = _name(settings, Kind.DEVICE, target)
    identity = (Kind.DEVICE, name)
    given = dict(overrides or {})
    named = identity in settings.sections
    if not named:
        given["tvqn"] = check_name("tvqn", target)
    values = _values(settings, Kind.DEVICE, identity, given, built_in or {})
    return Effective(name if named else None, values)


def mount(
    settings: Settings,
    name: str | None,
    overrides: Mapping[str, str] | None = None,
    built_in: Mapping[str, str] | None = None,
) -> Effective:
    """Return what holds for the mount called ``name``, or for one that has no section.

    Raises ConfigError, also for a name that is not there.
    """
    if name is not None:
        name = _name(settings, Kind.MOUNT, name)
    identity = None if name is None else (Kind.MOUNT, name)
    own = {"timeout": DEFAULT_TIMEOUT, **(built_in or {})}
    values = _values(settings, Kind.MOUNT, identity, overrides or {}, own)
    if identity is not None and identity not in settings.sections:
        meant = likely(identity[1], settings.mounts)
        known = f"there are: {', '.join(settings.mounts) or 'none'}"
        hint = f"did you mean '{meant}'?" if meant else known
        raise ConfigError(f"there is no [mount {name}] in the configuration; {hint}")
    return Effective(name, values)


def _name(settings: Settings, kind: Kind, given: str) -> str:
    """Return the name of a section as it is, where a unit has given it as systemd escapes it."""
    plain = unescaped(given)
    return plain if (kind, plain) in settings.sections else given


def _values(
    settings: Settings,
    kind: Kind,
    identity: Id | None,
    given: Mapping[str, str],
    built_in: Mapping[str, str],
) -> Mapping[str, Value]:
    """Return each key's value from the strongest that has it."""
    sections = [each for each in (DEFAULTS, identity) if each is not None]
    settings.require(*sections)
    known = KEYS[kind]
    for key, text in given.items():
        known[key].check(key, text)
    layers: list[Mapping[str, Value]] = [
        {key: Value(None, BUILT_IN) for key in known},
        _built_in(settings, built_in),
        *(settings.sections[each].values for each in sections if each in settings.sections),
        {key: Value(text, COMMAND_LINE) for key, text in given.items()},
    ]
    values = {key: value for layer in layers for key, value in layer.items() if key in known}
    for key, value in values.items():
        # What [defaults] may say need not do for every kind of section.
        if value.origin.source is Source.FILE and value.text is not None:
            try:
                known[key].check(key, value.text)
            except ConfigError as error:
                raise ConfigError(f"{value.origin}: {error}") from None
    return values


def _built_in(settings: Settings, own: Mapping[str, str]) -> Mapping[str, Value]:
    values = {key: Value(text, BUILT_IN) for key, text in {**BUILT_IN_VALUES, **own}.items()}
    # Here, so that what is shown is what is used; a name made up is another in every process.
    values["ivqn"] = settings.initiator_name or Value(SessionParameters().ivqn, BUILT_IN)
    return values
