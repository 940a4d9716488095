# SPDX-License-Identifier: BSD-3-Clause
"""The configuration file: the format of the reference target's ``vtgt.conf``, and our additions to
it.

Owns the sections and their keys. Reading changes nothing and opens nothing but the file itself; two
devices whose ``DeviceConfig`` are equal are the same device, which is how a reload knows what to
leave alone.

``[target]`` has transport, address, port, threads and targets as the reference has them; two
transports or several ports at once, connections, handshake_timeout, send_timeout and eager are
ours. Every other section is a device: tvqn, model, features, backend.
"""

from __future__ import annotations

import configparser
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vof.addresses import parse_address
from vof.errors import ConfigError
from vof.metrics.endpoint import NOWHERE, Endpoint
from vof.target.backends.backend import BackendOptions
from vof.target.clock import Clock
from vof.target.devices.device import Device
from vof.target.models import MODELS
from vof.target.values import Values, integer, one_of, ports, seconds, size
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, DEFAULT_PORT, V5_PORT, Transport
from vof.wire.names import check_name

TARGET_SECTION = "target"

TRANSPORTS = tuple(item.value for item in Transport)

EAGER_MIN = 4 << 10
EAGER_MAX = 64 << 20


@dataclass(frozen=True)
class Settings:
    """``[target]``."""

    transport: str = "tcp"
    """One or both of ``TRANSPORTS``, separated by a comma."""
    address: str = "127.0.0.1"
    ports: tuple[int, ...] = (DEFAULT_PORT, V5_PORT)
    """All of them are listened on, with each transport; 0 for a free one."""
    threads: int = 0
    """Requests that one virtqueue works on at the same time; 0 for what suits the queue."""
    targets: int = 128
    """Associations at the same time."""
    connections: int = 1024
    """TCP connections at the same time, those that have not connected yet included."""
    handshake_timeout: float = 10.0
    """Seconds a connection has for its Connect."""
    send_timeout: float = 30.0
    """Seconds an initiator may take nothing of what is sent to it."""
    eager: int = 1 << 20
    """Bytes of the eager buffers of one virtqueue, RDMA only; 0 for none."""
    metrics: Endpoint = NOWHERE
    """Where metrics are served."""

    @property
    def transports(self) -> tuple[Transport, ...]:
        """The transports to listen with."""
        return tuple(map(Transport, self.transport.split(",")))

    @property
    def port(self) -> str:
        """The ports, as the file has them."""
        return ", ".join(map(str, self.ports))


@dataclass(frozen=True)
class DeviceConfig:
    """One device's section."""

    where: str = field(compare=False)
    """The place in the configuration, for messages."""
    tvqn: str
    model: str
    features: int
    """The feature bits that may be offered; 0 for all the backend can do."""
    options: object
    """The device's, as its model takes them."""
    backend: BackendOptions

    def open(self, clock: Clock) -> Device:
        """Open the backend and return the device, whose time is the clock's. Raises ConfigError
        naming the place."""
        try:
            backend = self.backend.open()
            try:
                make = MODELS[self.model].make
                return make(self.tvqn, self.features, self.options, backend, clock)
            except BaseException:
                backend.close()
                raise
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from None


@dataclass(frozen=True)
class Config:
    """A configuration that can be used."""

    settings: Settings = field(default_factory=Settings)
    devices: tuple[DeviceConfig, ...] = ()


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError naming file, section and key, and what is allowed."""
    try:
        # A path may be any bytes; what has to be text says so itself.
        text = path.read_bytes().removeprefix(BOM_UTF8).decode(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Config:
    """Read a configuration's text; ``source`` names it in messages. Raises ConfigError."""
    parser = configparser.ConfigParser(
        interpolation=None,
        strict=True,
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        empty_lines_in_values=False,
        default_section="",  # so that no section name is special
    )
    # Keys are told apart by case: an unknown key is an error however it is written.
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text, source)
    except configparser.Error as error:
        raise ConfigError(f"{source}: {_parser_reason(error)}") from None
    places = _Places(text, source)
    settings = Settings()
    devices: dict[str, DeviceConfig] = {}
    for section in parser.sections():
        values = Values(parser[section], places.naming(section))
        if section == TARGET_SECTION:
            settings = _settings(values)
            continue
        device = _device(section, values, places)
        if device.tvqn in devices:
            other = devices[device.tvqn].where
            raise ConfigError(f"{device.where}: the tvqn is that of {other} already")
        devices[device.tvqn] = device
    return Config(settings, tuple(devices.values()))


def _settings(values: Values) -> Settings:
    default = Settings()
    settings = Settings(
        transport=values.take("transport", _transport, default.transport),
        address=values.take("address", _address, default.address),
        ports=values.take("port", ports, default.ports),
        threads=values.take("threads", integer(1, 64), default.threads),
        targets=values.take("targets", integer(1, CONTROL_QUEUE_TARGET_ID), default.targets),
        connections=values.take("connections", integer(1, 1 << 20), default.connections),
        handshake_timeout=values.take("handshake_timeout", seconds, default.handshake_timeout),
        send_timeout=values.take("send_timeout", seconds, default.send_timeout),
        eager=values.take("eager", _eager, default.eager),
        metrics=values.take("metrics", _endpoint, default.metrics),
    )
    values.finish()
    return settings


def _device(section: str, values: Values, places: _Places) -> DeviceConfig:
    tvqn = values.take("tvqn", _tvqn)
    model = values.take("model", one_of(MODELS))
    features = values.take("features", integer(0, (1 << 64) - 1), 0)
    line = values.take("backend", _pairs)
    values.finish()
    pairs = Values(line, places.naming(section, "backend"))
    backends = MODELS[model].backends
    take = backends[pairs.take("driver", one_of(backends))]
    options = MODELS[model].take(pairs)
    backend = take(pairs, options)
    pairs.finish()
    return DeviceConfig(
        where=places.naming(section)("backend"),
        tvqn=tvqn,
        model=model,
        features=features,
        options=options,
        backend=backend,
    )


def _address(text: str) -> str:
    return parse_address(text, "address", "port")


def _transport(text: str) -> str:
    """Take ``tcp``, ``rdma`` or both; return them in this order."""
    names = [part.strip() for part in text.split(",")]
    if not set(names) <= set(TRANSPORTS) or len(set(names)) < len(names):
        raise ValueError("is not known; use tcp or rdma, or tcp,rdma for both")
    return ",".join(name for name in TRANSPORTS if name in names)


def _eager(text: str) -> int:
    """Take the size of eager buffers, or ``off``."""
    number = 0 if text == "off" else size(text)
    if number and not EAGER_MIN <= number <= EAGER_MAX:
        raise ValueError(
            f"is not between {EAGER_MIN >> 10}K and {EAGER_MAX >> 20}M, nor off (or 0)"
        )
    return number


def _endpoint(text: str) -> Endpoint:
    try:
        return Endpoint.parse("metrics", text)
    except ConfigError as error:
        raise ValueError(f"cannot be used: {error}") from None


def _tvqn(text: str) -> str:
    try:
        return check_name("the name", text)
    except ConfigError as error:
        raise ValueError(f"cannot be used: {error}") from None


def _pairs(text: str) -> Mapping[str, str]:
    """Parse ``driver=…,key=value,…``; a comma of a value is written twice, as QEMU has it."""
    parts = [""]
    for piece in re.findall(r",,|,|[^,]+", text):
        if piece == ",":
            parts.append("")
        else:
            parts[-1] += piece.replace(",,", ",")
    pairs: dict[str, str] = {}
    for part in parts:
        key, equals, value = (item.strip() for item in part.partition("="))
        if not equals or not key:
            raise ValueError(
                f"has {part.strip()!r} where key=value is expected (a comma of a value is written "
                "twice)"
            )
        if key in pairs:
            raise ValueError(f"has {key}= twice")
        pairs[key] = value
    return pairs


class _Places:
    """Finds the line of a section's key, for messages only: configparser does not keep them."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._lines: dict[tuple[str, str], int] = {}
        section = ""
        for number, line in enumerate(text.split("\n"), 1):
            if header := re.match(r"\[(.+)\]", line):
                section = header[1]
                self._lines[section, ""] = number
            elif key := re.match(r"([^=#;\s][^=]*?)\s*=", line):
                self._lines.setdefault((section, key[1]), number)

    def naming(self, section: str, under: str = "") -> Callable[[str], str]:
        """Return what names a key of ``section``, or one inside the value of its key ``under``."""

        def name(key: str) -> str:
            line = self._lines.get((section, under or key)) or self._lines.get((section, ""), 0)
            inside = f"{under}: " if under else ""
            return f"{self._source}:{line}: [{section}] {inside}{key}"

        return name


def _parser_reason(error: configparser.Error) -> str:
    """Say in one line what configparser found."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before the first [section]"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: the section [{error.section}] is there twice"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: [{error.section}] has {error.option} twice"
    if isinstance(error, configparser.ParsingError):
        numbers = ", ".join(str(number) for number, _line in error.errors)
        return f"line {numbers} is neither [section] nor key = value"
    return " ".join(str(error).split())
