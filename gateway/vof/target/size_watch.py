# SPDX-License-Identifier: BSD-3-Clause
"""Looks twice a second whether what is behind a device has changed, and tells its initiators.

A file or block device has nobody who would say that its size is another one: it is asked. Owns the
thread. Must not know what a device looks at.
"""

from __future__ import annotations

import logging
import threading

from vof.logline import event
from vof.target.association import AssociationTable
from vof.wire.constants import AsyncEvent

_INTERVAL = 0.5
"""Seconds from one look to the next."""


class SizeWatch:
    """Watches all devices of a table, whichever those are, from ``start`` to ``stop``."""

    def __init__(self, table: AssociationTable) -> None:
        self._table = table
        self._stopped = threading.Event()
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="vof-sizes", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Look no more. Waits for a look that is being taken, but not for a disk that hangs."""
        self._stopped.set()
        self._thread.join(timeout)

    def look(self) -> None:
        """Look at every device once."""
        for device in self._table.devices():
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

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            self.look()
