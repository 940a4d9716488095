# SPDX-License-Identifier: BSD-3-Clause
"""The folders, files and open files of the tree, as a device's gateway sees them.

Independent of FUSE: no inode, no lookup count, no reply. Methods that may wait are ``async`` and
run in trio tasks; any number of them run at once. A method reports failure by an OSError or a
VofError; ``errnos`` turns both into what the caller's system call returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag

from vof.errors import VofError


class Access(IntFlag):
    """The uses of a node, as permission bits."""

    READ = 0o444
    WRITE = 0o222
    BOTH = 0o666


class Node:
    """A folder or a file.

    ``access`` is what it can be used for. ``public`` nodes may be read by all unless the user said
    ``mode=``; the rest belong to the mount's owner.
    """

    access = Access.READ
    public = False

    def __init__(self) -> None:
        self.changed_ns = time.time_ns()
        """Time of the last change, told as all of the times."""

    def found(self) -> Node:
        """Return what a lookup of this node finds: this node, here.

        The kernel lets one write(2) at a time into an inode. A file whose writes take long returns
        an equal one instead, which gets an inode of its own, and writers do not wait for each
        other.
        """
        return self


class Folder(Node):
    """A directory. This one is fixed: it holds what it was given."""

    public = True

    def __init__(self, children: Mapping[str, Node] | None = None) -> None:
        super().__init__()
        self._children = dict(children or {})

    def children(self) -> Mapping[str, Node]:
        """Return what is listed, in order. A node is the same object every time."""
        return self._children

    async def lookup(self, name: str) -> Node:
        """Return a child. Raises FileNotFoundError."""
        try:
            return self.children()[name].found()
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such entry", name) from None

    async def mkdir(self, name: str) -> Node:
        """Make a folder and return it. Its name has no slash and is not ``.`` or ``..``."""
        raise PermissionError(errno.EPERM, "nothing can be made here", name)

    async def rmdir(self, name: str) -> None:
        """Remove a folder with all that is in it."""
        raise PermissionError(errno.EPERM, "nothing can be removed here", name)


@dataclass(frozen=True)
class Opening:
    """The way in which a file is opened."""

    read: bool
    write: bool
    synchronous: bool = False
    """O_SYNC or O_DSYNC: a write is durable when it returns."""

    @classmethod
    def from_flags(cls, flags: int) -> Opening:
        """Return what the flags of open(2) say."""
        mode = flags & os.O_ACCMODE
        return cls(
            read=mode in (os.O_RDONLY, os.O_RDWR),
            write=mode in (os.O_WRONLY, os.O_RDWR),
            synchronous=bool(flags & (os.O_SYNC | os.O_DSYNC)),
        )


class Handle:
    """An open file: one for each open(2), shared by its duplicates. Calls may overlap.

    ``read``, ``allocate`` and a stream's ``write`` are cancelled when their caller has a signal to
    see to.
    """

    nonblocking = False
    """Whether O_NONBLOCK is set, by open(2) or later by fcntl(2); as of the last ``read`` or
    ``write``."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end of the file."""
        raise OSError(errno.EINVAL, "this file cannot be read")

    async def write(self, offset: int, data: bytes) -> int:
        """Return how much was written: 1 to all of it; all if the file is ``cached``."""
        raise OSError(errno.EINVAL, "this file cannot be written")

    async def flush(self) -> None:
        """A descriptor is being closed; there may be others. An error is that of close(2)."""

    async def fsync(self) -> None:
        """Make what was written durable."""

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        """Do what fallocate(2) asks for."""
        raise OSError(errno.EOPNOTSUPP, "this file has nothing to allocate")

    async def poll(self, watch: Callable[[], None] | None) -> int:
        """Return the events that are ready, as in poll(2).

        ``watch`` is to be called, once, when that has changed; None: nobody waits for it.
        """
        return select.POLLIN | select.POLLOUT

    async def release(self) -> None:
        """The last descriptor was closed: nothing is called any more."""


class File(Node):
    """A regular file."""

    cached = False
    """The kernel may keep the content in its page cache (needed for mmap(2) and loop devices).

    If not, each read(2) and write(2), up to a megabyte, is one call of the handle's, and the size
    limits nothing; what reads by the page (mmap(2), splice(2)) is refused.
    """

    stream = False
    """There are no places in it: seeking is refused (ESPIPE), and of one descriptor a read and a
    write do not wait for each other. Such a file is not ``cached``."""

    @property
    def size(self) -> int:
        """The size as stat(2) tells it."""
        return 0

    def check(self, opening: Opening) -> None:
        """Refuse what the file is not for; permissions do not stop root."""
        wanted = (0o400 if opening.read else 0) | (0o200 if opening.write else 0)
        if wanted & ~self.access:
            raise PermissionError(errno.EACCES, "the file is not for that")

    async def open(self, opening: Opening) -> Handle:
        """Return a handle, for an opening that ``check`` lets pass."""
        raise NotImplementedError

    async def truncate(self, size: int) -> None:
        """Change the size. Here, and as for a device: O_TRUNC is welcome and changes nothing."""
        if size not in (0, self.size):
            raise OSError(errno.EINVAL, "the size cannot be changed")


class TextFile(File):
    """A read-only text, made anew for each open(2) that reads it."""

    access = Access.READ
    public = True

    def __init__(self, make: Callable[[], str]) -> None:
        super().__init__()
        self._make = make

    async def open(self, opening: Opening) -> Handle:
        return BytesHandle(self._make().encode())


class BytesHandle(Handle):
    """Reads bytes that stay as they are."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


Refused = Callable[[BaseException], None]
"""Told of a write that failed, with the reason."""


def _ignore(_error: BaseException) -> None:
    pass


@contextlib.contextmanager
def telling(refused: Refused) -> Iterator[None]:
    """Tell ``refused`` of an error on its way to the writer."""
    try:
        yield
    except (VofError, OSError) as error:
        refused(error)
        raise


class AttributeFile(File):
    """A value that is set by writing it, and read back where ``show`` is given.

    ``store`` gets all that was written through one open(2) so far, each time that something is: a
    value may come in several writes, and an error is that of the write(2). More than ``limit``
    bytes are refused with EFBIG. ``refused`` is told of every write that fails.
    """

    def __init__(
        self,
        store: Callable[[bytes], Awaitable[None]],
        show: Callable[[], str] | None = None,
        *,
        limit: int = 4096,
        refused: Refused = _ignore,
    ) -> None:
        super().__init__()
        self.access = Access.BOTH if show else Access.WRITE
        self._refused = refused
        self._store = store
        self._show = show
        self._limit = limit

    async def open(self, opening: Opening) -> Handle:
        content = self._show().encode() if opening.read and self._show else b""
        return _AttributeHandle(self._store, content, self._limit, self._refused)


class _AttributeHandle(BytesHandle):
    def __init__(
        self,
        store: Callable[[bytes], Awaitable[None]],
        content: bytes,
        limit: int,
        refused: Refused,
    ) -> None:
        super().__init__(content)
        self._store = store
        self._limit = limit
        self._refused = refused
        self._value = bytearray()

    async def write(self, offset: int, data: bytes) -> int:
        with telling(self._refused):
            return await self._write(offset, data)

    async def _write(self, offset: int, data: bytes) -> int:
        if offset + len(data) > self._limit:
            raise OSError(errno.EFBIG, f"a value has at most {self._limit} bytes")
        if offset > len(self._value):
            raise OSError(errno.EINVAL, "a value is written from its beginning, without holes")
        value = self._value[:offset] + data
        await self._store(bytes(value))
        self._value = value
        return len(data)
