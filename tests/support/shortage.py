# SPDX-License-Identifier: BSD-3-Clause
"""A process that may open no file more."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_descriptors(spare: int = 0) -> Iterator[None]:
    """Let this process open ``spare`` descriptors, and then none."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest number that is free: those below it are taken, those above it not to be had.
    taken: list[int] = [os.open(os.devnull, os.O_RDONLY) for _ in range(spare + 1)]
    limit = max(taken)
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
