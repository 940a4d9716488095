# SPDX-License-Identifier: BSD-3-Clause
"""Looks twice a second whether what is behind a device has changed, and tells its initiators.

A file or block device has nobody who would say that its size is another one: it is asked. Must not
know what a device looks at.
"""

from __future__ import annotations

import logging
import threading

from vof.logline import event
from vof.target.association_table import AssociationTable
from vof.target.clock import Clock, Timer
from vof.wire.constants import AsyncEvent

INTERVAL = 0.5
"""Seconds from one look to the next."""


class SizeWatch:
    """Watches all devices of a table, whichever those are, from ``start`` to ``stop``."""

    def __init__(self, table: AssociationTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._looking = threading.Lock()
        self._stopped = False
        self._timer: Timer | None = None
        self._failing: set[str] = set()

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._clock.after(INTERVAL, self._again)

    def stop(self, timeout: float) -> None:
        """Look no more. Waits for a look that is being taken, but not for a disk that hangs."""
        self._stopped = True
        if self._timer:
            self._timer.cancel()
        if self._looking.acquire(timeout=timeout):
            self._looking.release()

    def look(self) -> None:
        """Look at every device once."""
        for device in self._table.devices.all():
            try:
                changed = device.refresh()
            except OSError as error:
                if device.tvqn not in self._failing:
                    self._failing.add(device.tvqn)
                    event(logging.ERROR, "no-size", tvqn=device.tvqn, reason=error.strerror)
            else:
                self._failing.discard(device.tvqn)
                if changed:
                    self._table.notify(device, AsyncEvent.CONFIG_CHANGE)

    def _again(self) -> None:
        with self._looking:
            if self._stopped:
                return
            try:
                self.look()
            finally:
                self.start()
