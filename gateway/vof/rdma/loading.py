# SPDX-License-Identifier: BSD-3-Clause
"""The first import of pyverbs, which gives the root logger a handler and a level.

Needs no pyverbs itself. What its absence means to a user, who imports it says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logging_left_alone() -> Iterator[None]:
    """Leave the process's logging as it was before what is imported meanwhile."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
