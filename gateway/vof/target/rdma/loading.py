# SPDX-License-Identifier: BSD-3-Clause
"""The import of pyverbs, which only a target that serves RDMA needs.

Owns what its absence means to a user.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vof.errors import VofError
from vof.rdma.loading import logging_left_alone

if TYPE_CHECKING:
    from vof.target.rdma.acceptor import Acceptor
    from vof.target.rdma.listener import Listener


class Rdma(NamedTuple):
    """The modules that import pyverbs, as far as a target needs them."""

    listen: Callable[[str, int], list[Listener]]
    acceptor: type[Acceptor]


def load() -> Rdma:
    """Import them. Raises VofError where that cannot be."""
    try:
        with logging_left_alone():
            # Not every target has pyverbs.
            from vof.target.rdma.acceptor import Acceptor  # noqa: PLC0415
            from vof.target.rdma.listener import listen  # noqa: PLC0415
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pyverbs":
            raise
        raise VofError(
            "transport = rdma needs pyverbs, which is not there; install the package "
            "python3-pyverbs, or take rdma out of transport in [target]",
            errno=errno.ENOPKG,
        ) from None
    return Rdma(listen, Acceptor)
