# SPDX-License-Identifier: BSD-3-Clause
"""A target: its devices and listeners, from start to stop, and what a new configuration changes.

Owns the lifecycle, in the order that it has to have. Must not know signals, arguments or files:
``cli`` does. It can be used in-process::

    with Target(config) as target:
        ... target.address, target.port ...
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vof.errors import ConfigError
from vof.logline import event
from vof.target.association_table import AssociationTable
from vof.target.capacity import Capacity
from vof.target.clock import Clock
from vof.target.config import Config, DeviceConfig, Settings
from vof.target.devices.device import Device
from vof.target.listening import Listening
from vof.target.registry import DeviceRegistry
from vof.target.size_watch import SizeWatch
from vof.target.taps import Taps

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STOP_TIMEOUT = 10.0
"""Seconds that a stop, or the removal of a device, may take."""

_GRACE = 2.0


class Target:
    """Serves the devices of one configuration on one address and its ports."""

    def __init__(self, config: Config, taps: Taps | None = None) -> None:
        """``taps`` look at all that passes through its connections."""
        self._config = config
        self._taps = taps
        self._table = AssociationTable(DeviceRegistry(), config.settings.targets)
        self._listening: Listening | None = None
        self._clock: Clock
        self._watch: SizeWatch
        self.capacity: Capacity
        """What there is room for, once started."""
        self.address = ""
        """The numeric address that is listened on, once started."""
        self.port = 0
        """The first of the ports."""
        self.ports: tuple[int, ...] = ()
        """Those that are listened on, once started."""

    def open(self) -> None:
        """Open every device and listen; nobody is answered yet. Raises VofError, with nothing left
        open."""
        self._clock = Clock()
        self._watch = SizeWatch(self._table, self._clock)
        devices = open_devices(self._config.devices, self._clock)
        try:
            for device, item in zip(devices, self._config.devices, strict=True):
                _claim(device, item)
            self.capacity = Capacity.now(self._config.settings.transports)
            settings = self._within_capacity(self._config.settings)
            listening = Listening(self._table, settings, self._taps)
        except BaseException:
            close_all(devices)
            raise
        self.address, self.ports = listening.address, tuple(listening.ports)
        self.port = self.ports[0]
        for device in devices:
            self._serve(device)
        self._listening = listening

    def start(self) -> None:
        """Serve, having opened what is not open yet. Raises VofError, as that does."""
        if self._listening is None:
            self.open()
        assert self._listening is not None
        self._listening.start()
        self._watch.start()

    @property
    def listening_on(self) -> str:
        """Every address, port and transport, as a user reads it."""
        return ", ".join(self._listening.places) if self._listening else ""

    def metrics(self) -> Iterator[Metric]:
        """Yield what is to be known of the target at this moment."""
        from vof.target.exposition import target_families  # noqa: PLC0415 - only who shows them

        listening = self._listening
        return target_families(self._table, listening.count if listening else lambda: 0)

    def reload(self, config: Config) -> None:
        """Serve what ``config`` says from now on; devices that are the same in both are not
        disturbed, unless another file is where theirs was and nobody uses them.

        Raises ConfigError, and nothing has changed, where a new device cannot be opened.
        """
        old = {item.tvqn: item for item in self._config.devices}
        new = {item.tvqn: item for item in config.devices}
        appearing = [item for item in config.devices if old.get(item.tvqn) != item]
        leaving = [item for item in self._config.devices if new.get(item.tvqn) != item]
        opened = list(zip(appearing, open_devices(appearing, self._clock), strict=True))
        for item in leaving:
            self._remove(item)
        renewed, kept = self._renew(item for item in config.devices if old.get(item.tvqn) == item)
        opened += renewed
        served = list(config.devices)
        for item, device in opened:
            try:
                # Only now: the device it replaces may have held the same file.
                _claim(device, item)
            except ConfigError as error:
                device.close()
                served.remove(item)
                event(logging.ERROR, "not-served", tvqn=item.tvqn, reason=str(error))
            else:
                self._serve(device)
        self._apply(config.settings)
        self._config = Config(config.settings, tuple(served))
        changed = len(old.keys() & {item.tvqn for item, _device in opened})
        event(
            logging.WARNING,
            "reloaded",
            added=len(opened) - changed,
            removed=len(leaving) + len(renewed) - changed,
            changed=changed,
            unchanged=len(config.devices) - len(opened) - kept,
            outdated=kept or None,
        )

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Finish what is in flight, make it persistent, and close everything, within ``timeout``
        seconds.
        """
        listening, self._listening = self._listening, None
        if listening is None:
            return
        deadline = time.monotonic() + timeout
        self._watch.stop(_GRACE)
        finished = listening.stop(min(_GRACE, timeout / 4), deadline)
        self._clock.stop(_GRACE)
        for device in self._table.devices.all():
            _flush(device)
        if finished:
            close_all(self._table.devices.all())
        else:
            # Not closed: a request that is still being executed has the descriptors in use.
            event(logging.ERROR, "stopped", reason="some requests did not finish in time")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self, device: Device) -> None:
        self._table.devices.add(device)
        if facts := device.facts():
            event(logging.WARNING, "serving", tvqn=device.tvqn, **facts)

    def _renew(
        self, items: Iterable[DeviceConfig]
    ) -> tuple[list[tuple[DeviceConfig, Device]], int]:
        """Open anew the devices whose files are others than those that are open, and remove the old
        ones, unless they are used: an initiator's data must not become another's under it.

        Returns them, and how many are served on as they were.
        """
        renewed: list[tuple[DeviceConfig, Device]] = []
        kept = 0
        for item in items:
            device = self._device(item)
            try:
                reason = device.outdated()
                if not reason:
                    continue
                fresh = item.open(self._clock)
            except ConfigError as error:
                reason = f"{error}; what was opened before is served until the target ends"
            else:
                if self._table.remove_idle(device):
                    event(logging.WARNING, "reopened", tvqn=item.tvqn, reason=reason)
                    _retire(device)
                    renewed.append((item, fresh))
                    continue
                fresh.close()
                reason += "; it is served while initiators use it: reload again when none does"
            kept += 1
            event(logging.WARNING, "outdated", tvqn=item.tvqn, reason=reason)
        return renewed, kept

    def _device(self, item: DeviceConfig) -> Device:
        device = self._table.devices.find(item.tvqn)
        assert device
        return device

    def _remove(self, item: DeviceConfig) -> None:
        device = self._device(item)
        self._table.devices.remove(device)
        if self._table.end_users(device, STOP_TIMEOUT):
            _retire(device)
        else:
            _flush(device)
            event(
                logging.ERROR,
                "not-closed",
                tvqn=item.tvqn,
                reason="requests are still being executed",
            )

    def _apply(self, settings: Settings) -> None:
        before = self._config.settings
        for key in ("transport", "address", "port", "metrics"):
            if getattr(before, key) != getattr(settings, key):
                event(
                    logging.WARNING,
                    "needs-restart",
                    key=key,
                    value=getattr(settings, key),
                    reason=f"{getattr(before, key)} stays in use until the target is restarted",
                )
        self._table.limit = settings.targets
        if self._listening:
            self._listening.apply(self._within_capacity(settings))

    def _within_capacity(self, settings: Settings) -> Settings:
        return replace(settings, connections=min(settings.connections, self.capacity.connections))


def open_devices(items: Iterable[DeviceConfig], clock: Clock) -> list[Device]:
    """Open all or none, with one clock. Raises ConfigError."""
    devices: list[Device] = []
    try:
        for item in items:
            devices.append(item.open(clock))  # noqa: PERF401 - a failure closes those before it
    except BaseException:
        close_all(devices)
        raise
    return devices


def close_all(devices: Iterable[Device]) -> None:
    """Close every device."""
    for device in devices:
        device.close()


def _retire(device: Device) -> None:
    _flush(device)
    device.close()


def _flush(device: Device) -> None:
    try:
        device.flush()
    except OSError as error:
        event(logging.ERROR, "flush-failed", tvqn=device.tvqn, reason=error.strerror)


def _claim(device: Device, item: DeviceConfig) -> None:
    try:
        device.claim()
    except ConfigError as error:
        raise ConfigError(f"{item.where}: {error}") from None
