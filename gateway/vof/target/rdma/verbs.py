# SPDX-License-Identifier: BSD-3-Clause
"""RDMA devices, registered memory and the connection manager's descriptors, by pyverbs.

Owns what pyverbs 44 leaves to its user: its errors are no OSErrors, its channels do not tell their
descriptors, its calls never release the interpreter's lock (so nothing here ever waits), objects
crash when they are used after their close. Must not know queues or commands.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyverbs.enums as e
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsError

from vof.target.rdma.memory import NotRegistered

T = TypeVar("T")

LOCAL = int(e.IBV_ACCESS_LOCAL_WRITE)
"""Access: this process's own work requests alone."""

REMOTE_WRITE = LOCAL | int(e.IBV_ACCESS_REMOTE_WRITE)
"""Access: a peer's writes too."""

# Held while a channel is made and its descriptor looked for, and while one is closed: else a new
# one could have the number of one that has just gone.
_descriptors = threading.Lock()


@contextmanager
def as_os_error() -> Iterator[None]:
    """Raise pyverbs's errors as OSError."""
    try:
        yield
    except PyverbsError as error:
        raise os_error(error) from None


def os_error(error: PyverbsError) -> OSError:
    """Return one of pyverbs's errors as an OSError."""
    number = abs(getattr(error, "error_code", 0))
    # Some calls report -1 and no reason.
    return OSError(number, os.strerror(number)) if number > 1 else OSError(errno.EIO, str(error))


def with_descriptor(make: Callable[[], T], kind: str) -> tuple[T, int]:
    """Return what ``make`` makes, and the descriptor that it opens, which is set not to block;
    ``kind`` is a part of what that is a link to. Only one thread opens any of the kind, and
    ``close_with_descriptor`` is how all of them are closed."""
    with _descriptors:
        before = _descriptors_of(kind)
        made = make()
        [descriptor] = _descriptors_of(kind) - before
        os.set_blocking(descriptor, False)
        return made, descriptor


def close_with_descriptor(made: Any) -> None:
    """Close what ``with_descriptor`` has made. Raises PyverbsError."""
    with _descriptors:
        made.close()


def _descriptors_of(kind: str) -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - there may be thousands
        try:
            if kind in os.readlink(f"/proc/self/fd/{name}"):  # noqa: PTH115
                found.add(int(name))
        except OSError:
            continue  # closed since
    return found


class Device:
    """An opened RDMA device."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        with as_os_error():
            self.context: Any = Context(name=name)
            attributes = self.context.query_device()
            self.max_reads = min(255, int(attributes.max_qp_init_rd_atom))
            """Reads that a queue pair may have outstanding."""
            self.max_message = min(1 << 30, int(self.context.query_port(1).max_msg_sz))
            """Bytes of one read or write."""
        self.name = name

    def close(self) -> None:
        """Close the device; nothing of it may be in use."""
        with as_os_error():
            self.context.close()


class RegisteredMemory:
    """A memory region: pages of this process that the device may use, zeroed at first."""

    def __init__(self, domain: PD, size: int, access: int) -> None:
        """``size`` is in whole pages. Raises NotRegistered."""
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self.view = memoryview(pages)
        try:
            self._region = MR(domain, size, access, address=self.address)
        except PyverbsError as error:
            raise NotRegistered(size, str(os_error(error).strerror)) from None
        self.local_key = int(self._region.lkey)
        self.remote_key = int(self._region.rkey)

    def close(self) -> None:
        """Revoke its keys. Idempotent; the memory itself stays as long as somebody looks at it."""
        with as_os_error():
            self._region.close()
