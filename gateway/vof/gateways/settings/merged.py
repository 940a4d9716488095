# SPDX-License-Identifier: BSD-3-Clause
"""Makes one of all configuration files, key by key, and collects all that is wrong with them.

A later file's key wins over an earlier one's. What is wrong is kept with its place and with the
section it concerns, so that `vofctl validate` can tell all of it, while a device whose own settings
are sound can be used whatever stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vof.errors import ConfigError
from vof.gateways.settings.files import (
    configuration_files,
    default_folder,
    initiator_name,
    read_file,
)
from vof.gateways.settings.ini import Section, read_sections
from vof.gateways.settings.local_name import check_device_name
from vof.gateways.settings.origin import Origin, Value
from vof.gateways.settings.schema import KEYS, REQUIRED, Kind
from vof.gateways.suggestion import unknown

Id = tuple[Kind, str]
"""What makes it this section and no other; the name is empty for [defaults]."""

DEFAULTS: Id = (Kind.DEFAULTS, "")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the configuration."""

    text: str
    """In one line, with the file and the line."""
    section: Id | None = None
    """What it concerns; None for everything."""
    origin: Origin | None = None
    """Where it stands, if that is one place."""

    @property
    def line(self) -> int:
        """The line it stands in; 0 where that is no line."""
        return self.origin.line if self.origin else 0


@dataclass
class Merged:
    """One section of all files."""

    origin: Origin
    """Where it begins first."""
    values: dict[str, Value] = field(default_factory=dict)


@dataclass
class Settings:
    """The configuration of this machine. Made by ``load``."""

    files: list[Path] = field(default_factory=list)
    """Those that were read, in the order in which they count."""
    sections: dict[Id, Merged] = field(default_factory=dict)
    initiator_name: Value | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def devices(self) -> list[str]:
        """The names of the devices, in the order of the files."""
        return self._names(Kind.DEVICE)

    @property
    def mounts(self) -> list[str]:
        """The names of the mounts, in the order of the files."""
        return self._names(Kind.MOUNT)

    def require(self, *sections: Id) -> None:
        """Raise ConfigError if something is wrong that concerns these sections, or everything."""
        for problem in self.problems:
            if problem.section is None or problem.section in sections:
                raise ConfigError(problem.text)

    def _names(self, kind: Kind) -> list[str]:
        return [name for found, name in self.sections if found is kind]


def load(folder: Path | None = None) -> Settings:
    """Read this machine's configuration, or that in ``folder``. Where there is none it is empty.

    Raises nothing for what is wrong with it: that is in ``problems``.
    """
    folder = folder or default_folder()
    settings = Settings()
    try:
        settings.initiator_name = initiator_name(folder)
    except ConfigError as error:
        settings.problems.append(Problem(str(error)))
    try:
        _read(settings, configuration_files(folder))
    except ConfigError as error:
        settings.problems.append(Problem(str(error)))
    return settings


def load_files(paths: Iterable[Path]) -> Settings:
    """Read these files alone, as `vofctl validate FILE...` does."""
    settings = Settings()
    _read(settings, paths)
    return settings


def _read(settings: Settings, paths: Iterable[Path]) -> None:
    for path in paths:
        settings.files.append(path)
        try:
            data = read_file(path)
        except ConfigError as error:
            settings.problems.append(Problem(str(error)))
            continue
        _merge(settings, path, data)
    for identity, section in settings.sections.items():
        required = REQUIRED[identity[0]]
        if required is not None and required not in section.values:
            text = f"{section.origin}: [{_header(identity)}] has no {required}"
            settings.problems.append(Problem(text, identity, section.origin))
    _find_clashes(settings, Kind.DEVICE, "device")
    _find_clashes(settings, Kind.MOUNT, "mountpoint")


def _merge(settings: Settings, path: Path, data: bytes) -> None:
    problems: list[Problem] = []

    def report(origin: Origin, text: str, section: Section | None) -> None:
        identity = None
        if section is not None:
            try:
                identity = _identity(section.header)
            except ConfigError:
                pass
        problems.append(Problem(f"{origin}: {text}", identity, origin))

    for section in read_sections(path, data, report):
        try:
            identity = _identity(section.header)
        except ConfigError as error:
            problems.append(Problem(f"{section.origin}: {error}", None, section.origin))
            continue
        merged = settings.sections.setdefault(identity, Merged(section.origin))
        for key, value in section.values.items():
            merged.values[key] = value
            try:
                _check(identity[0], key, value)
            except ConfigError as error:
                where = f"{value.origin}: [{_header(identity)}]"
                problems.append(Problem(f"{where} {error}", identity, value.origin))
    settings.problems += sorted(problems, key=lambda problem: problem.line)


def _check(kind: Kind, key: str, value: Value) -> None:
    known = KEYS[kind]
    if key not in known:
        raise ConfigError(unknown("key", key, known))
    if not value.text:
        raise ConfigError(f"{key} is empty; leave it out for its default")
    known[key].check(key, value.text)


def _identity(header: str) -> Id:
    """Return which section a header names. Raises ConfigError."""
    word, _space, name = header.partition(" ")
    try:
        kind = Kind(word)
    except ValueError:
        raise ConfigError(f"[{header}]: {unknown('section', word, _HEADERS)}") from None
    if kind is Kind.DEFAULTS:
        if name:
            raise ConfigError(f"[{header}]: [defaults] has no name; there is one for all")
        return DEFAULTS
    if not name:
        raise ConfigError(f"[{header}]: the name is missing; write [{header} NAME]")
    try:
        return kind, check_device_name(name)
    except ConfigError as error:
        raise ConfigError(f"[{header}]: {error}") from None


_HEADERS = [kind.value for kind in Kind]


def _header(identity: Id) -> str:
    kind, name = identity
    return f"{kind.value} {name}".strip()


def _find_clashes(settings: Settings, kind: Kind, key: str) -> None:
    """Report what two sections of a kind cannot both have."""
    users: dict[str, Id] = {}
    for identity, section in settings.sections.items():
        value = section.values.get(key)
        if identity[0] is not kind or value is None or value.text is None:
            continue
        other = users.setdefault(value.text, identity)
        if other is not identity:
            text = f"{key} {value.text} is that of [{_header(other)}] already"
            where = f"{value.origin}: [{_header(identity)}]"
            settings.problems.append(Problem(f"{where} {text}", identity, value.origin))
