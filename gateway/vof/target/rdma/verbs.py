# SPDX-License-Identifier: BSD-3-Clause
"""RDMA devices and registered memory, by pyverbs.

pyverbs 44 leaves to its user that its calls never release the interpreter's lock (so nothing here
ever waits), and that objects crash when they are used after their close. Must not know queues or
commands.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import pyverbs.enums as e
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsError

from vof.rdma.descriptors import COMPLETION_CHANNEL, close_with_descriptor, with_descriptor
from vof.rdma.failures import as_os_error, os_error
from vof.target.rdma.memory import NotRegistered

LOCAL = int(e.IBV_ACCESS_LOCAL_WRITE)
"""Access: this process's own work requests alone."""

REMOTE_WRITE = LOCAL | int(e.IBV_ACCESS_REMOTE_WRITE)
"""Access: a peer's writes too."""


class Device:
    """An opened RDMA device."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        with as_os_error():
            context, _events = with_descriptor(lambda: Context(name=name), COMPLETION_CHANNEL)
            self.context: Any = context
            attributes = self.context.query_device()
            self.max_reads = min(255, int(attributes.max_qp_init_rd_atom))
            """Reads that a queue pair may have outstanding."""
            self.max_message = min(1 << 30, int(self.context.query_port(1).max_msg_sz))
            """Bytes of one read or write."""
        self.name = name

    def close(self) -> None:
        """Close the device; nothing of it may be in use."""
        with as_os_error():
            close_with_descriptor(self.context)


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
