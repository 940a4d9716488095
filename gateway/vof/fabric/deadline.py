# SPDX-License-Identifier: BSD-3-Clause
"""The time that an opening may take, in all its parts together."""

from __future__ import annotations

import errno
import math
import time

from vof.errors import ConnectError


class Deadline:
    """Begins to run when it is made."""

    def __init__(self, seconds: float, what: str) -> None:
        """``what`` is to be open within so many ``seconds``."""
        self.seconds = seconds
        self.at = time.monotonic() + seconds
        """By the monotonic clock."""
        self._what = what

    @property
    def passed(self) -> bool:
        """True where no time is left."""
        return time.monotonic() >= self.at

    def left(self) -> float:
        """Return what is left, in tenths of a second that have begun, for whoever names it in a
        message. Raises ConnectError where nothing is."""
        tenths = math.ceil((self.at - time.monotonic()) * 10)
        if tenths <= 0:
            raise ConnectError(
                f"{self._what} was not open within {self.seconds:g} s; is the network or the "
                "target slow?",
                errno=errno.ETIMEDOUT,
            )
        return tenths / 10
