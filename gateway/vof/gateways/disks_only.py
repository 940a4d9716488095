# SPDX-License-Identifier: BSD-3-Clause
"""What the gateways of NBD say of a device that is no disk. Must not know where it is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vof.errors import WrongDevice


@contextmanager
def disks_only() -> Iterator[None]:
    """Add to a WrongDevice why that is so, and what to do."""
    try:
        yield
    except WrongDevice as error:
        raise WrongDevice(
            f"{error}: NBD takes disks only; vof-mount shows an rng or crypto device as files"
        ) from None
