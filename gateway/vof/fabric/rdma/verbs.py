# SPDX-License-Identifier: BSD-3-Clause
"""pyverbs as it has to be used: what it never frees, or must not do in a child.

Owns the life of its objects, and the protection domain of an association with its registered
memory. To be imported by ``connect`` alone, when a connection is made: pyverbs may not be
there, and takes over the root logger where it is.

No call of pyverbs lets other threads run meanwhile, so none may block: whoever waits polls a
descriptor first.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import Any, TypeVar
from weakref import WeakSet

import pyverbs.enums as e
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsError

from vof.errors import ConnectError
from vof.fabric.rdma.memory import Pool
from vof.rdma.descriptors import COMPLETION_CHANNEL, close_with_descriptor, with_descriptor
from vof.rdma.failures import as_os_error, os_error

_T = TypeVar("_T")


class Held:
    """pyverbs objects that are closed together, in the reverse order of their making.

    A child made by fork has the descriptors of its parent, and closing one of these objects there
    would end the parent's. So the child closes the descriptors alone and keeps the objects for
    ever.
    """

    def __init__(self) -> None:
        self.gone = False
        """Closed, or the parent's."""
        self._objects: list[tuple[Any, tuple[int, ...]]] = []
        _held.add(self)

    def hold(self, item: _T, *fds: int) -> _T:
        """Keep ``item``, whose own descriptors are ``fds``."""
        self._objects.append((item, fds))
        return item

    def let_go(self) -> None:
        """Close all; idempotent. What a device that is gone cannot close is left."""
        self.gone = True
        while self._objects:
            item, fds = self._objects.pop()
            with contextlib.suppress(PyverbsError):
                if fds:
                    close_with_descriptor(item)
                else:
                    item.close()

    def leave_to_parent(self) -> None:
        """In a child: forget it all."""
        self.gone = True
        for item, fds in self._objects:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._objects.clear()


_held: WeakSet[Held] = WeakSet()


def _leave_to_parent() -> None:
    for held in list(_held):
        held.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)


class Domain(Held):
    """The protection domain of an association on one device, and the memory registered in it.

    Each queue's link joins it, and leaves it when it is closed; the last takes the keys back.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        try:
            with as_os_error():
                context, events = with_descriptor(lambda: Context(name=device), COMPLETION_CHANNEL)
                self.context = self.hold(context, context.cmd_fd, events)
                limits = context.query_device()
                self.pd = self.hold(PD(context))
            self.max_wr = limits.max_qp_wr
            """Work requests that a queue pair holds in one direction."""
            self.max_cqe = limits.max_cqe
            """Completions that a completion queue holds."""
            self.max_reads = limits.max_qp_rd_atom
            """RDMA READs of ours that a peer may have outstanding."""
            self.pool = Pool(self.register)
        except OSError as error:
            self.let_go()
            raise ConnectError(
                f"cannot use RDMA device {device}: {error.strerror}", errno=error.errno
            ) from None
        except BaseException:
            self.let_go()
            raise
        self._links = 0

    def register(self, addr: int, size: int) -> MR:
        """Register memory that the peer may read and write. Raises ConnectError."""
        access = e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_READ | e.IBV_ACCESS_REMOTE_WRITE
        return self.hold(self._register(addr, size, access))

    def register_local(self, addr: int, size: int) -> MR:
        """Register memory that only messages arrive in, for who holds it. Raises ConnectError."""
        return self._register(addr, size, e.IBV_ACCESS_LOCAL_WRITE)

    def _register(self, addr: int, size: int, access: int) -> MR:
        try:
            return MR(self.pd, size, access, address=addr)
        except PyverbsError as problem:
            error = os_error(problem)
            hint = "; raise the limit of locked memory (ulimit -l)"
            raise ConnectError(
                f"cannot register {size >> 10} KiB of memory with RDMA device {self.device}: "
                f"{error.strerror}{hint if error.errno == errno.ENOMEM else ''}",
                errno=error.errno,
            ) from None

    def join(self) -> None:
        """Use it for one more link."""
        self._links += 1

    def leave(self) -> None:
        """Use it for one link less; without any it ends."""
        self._links -= 1
        if not self._links and not self.gone:
            self.pool.close()
            self.let_go()
