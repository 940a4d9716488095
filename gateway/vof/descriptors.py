# SPDX-License-Identifier: BSD-3-Clause
"""The limit of file descriptors of this process, and the words for having too few.

A program raises its limit itself, as far as the system's administrator lets it: the lower one is
there for programs that use select(2).
"""

from __future__ import annotations

import errno
import os
import resource

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE})
"""The errnos of having none left: this process, or the whole system."""


def limit() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> None:
    """Take as many as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_open() -> int:
    """Return how many this process has."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - there may be thousands
    except OSError:
        return limit()  # it takes one itself


def none_left() -> OSError | None:
    """Return the error that opening one more gives for want of a descriptor, if it does."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error if error.errno in SHORTAGES else None
    return None


def too_few() -> str:
    """Return what it means that this process has none left, and what to do."""
    return (
        f"too few file descriptors: this program may have {limit()}; raise that limit "
        "(ulimit -n, or LimitNOFILE= of a unit)"
    )


def explain(error: OSError) -> str:
    """Return what an error means and what to do where there were none left; of any other its own
    text."""
    if error.errno == errno.EMFILE:
        return too_few()
    if error.errno == errno.ENFILE:
        return "the system has no more file descriptors; raise its limit (sysctl fs.file-max)"
    return error.strerror or str(error)


def shortage_in(error: BaseException) -> str | None:
    """Return what to say of an error, or of several together, if all they mean is that there were
    none left."""
    if isinstance(error, BaseExceptionGroup):
        found = [shortage_in(each) for each in error.exceptions]
        return found[0] if all(found) else None
    return explain(error) if isinstance(error, OSError) and error.errno in SHORTAGES else None
