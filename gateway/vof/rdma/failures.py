# SPDX-License-Identifier: BSD-3-Clause
"""pyverbs's errors, which are no OSErrors, as OSErrors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyverbs.pyverbs_error import PyverbsError


@contextmanager
def as_os_error() -> Iterator[None]:
    """Raise as OSError what pyverbs raises meanwhile."""
    try:
        yield
    except PyverbsError as error:
        raise os_error(error) from None


def os_error(error: PyverbsError) -> OSError:
    """Return one of pyverbs's errors as an OSError, with EIO where it has no number."""
    number = getattr(error, "error_code", 0)
    # Some calls negate it, and some report -1 for want of a reason.
    if number in (0, -1):
        return OSError(errno.EIO, str(error))
    return OSError(abs(number), os.strerror(abs(number)))
