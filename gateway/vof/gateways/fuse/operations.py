# SPDX-License-Identifier: BSD-3-Clause
"""Answers the kernel: a thin layer between pyfuse3's requests and the nodes.

Owns the open files' numbers, the attributes the kernel is told, and that nothing but a FUSEError
leaves a handler. Names and attributes are not cached by the kernel, for devices come and go; a
file's content is if the file says so.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from vof.errors import VofError
from vof.gateways.fuse.binding import libfuse, pyfuse3
from vof.gateways.fuse.errnos import fuse_errno
from vof.gateways.fuse.nodes import File, Folder, Handle, Node, Opening
from vof.gateways.fuse.ownership import Ownership
from vof.gateways.fuse.tree import Inodes
from vof.logline import describe, event

if TYPE_CHECKING:
    from pyfuse3 import (
        EntryAttributes,
        FileInfo,
        PollHandle,
        ReaddirToken,
        RequestContext,
        SetattrFields,
        StatvfsData,
    )


CACHED_ATTRIBUTES = 3600.0
"""Seconds the kernel may keep the attributes of a file whose content it may keep."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Handler = Callable[_P, Coroutine[Any, Any, _T]]


def _answer(function: _Handler[_P, _T]) -> _Handler[_P, _T]:
    """Turn what a node raises into the errno the kernel gets."""

    @functools.wraps(function)
    async def handler(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await function(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except (VofError, OSError) as error:
            raise pyfuse3.FUSEError(fuse_errno(error)) from None
        except Exception as error:  # noqa: BLE001 - letting it through would end the mount
            event(
                logging.ERROR,
                "internal-error",
                request=function.__name__,
                reason=describe(error),
            )
            raise pyfuse3.FUSEError(errno.EIO) from None

    return handler


class Operations(pyfuse3.Operations):
    """The mount's request handlers. ``started`` is called once the kernel has taken it up."""

    supports_dot_lookup = False

    def __init__(self, root: Folder, ownership: Ownership, started: Callable[[], None]) -> None:
        super().__init__()
        self._inodes = Inodes(root)
        self._ownership = ownership
        self._started = started
        self._handles: dict[int, Handle] = {}
        self._listings: dict[int, list[tuple[str, Node]]] = {}
        self._next_handle = count(1)

    def init(self) -> None:
        self._started()

    # Names.

    @_answer
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._entry(await self._folder(parent_inode).lookup(os.fsdecode(name)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for number, lookups in inode_list:
            self._inodes.forget(number, lookups)

    @_answer
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(await self._folder(parent_inode).mkdir(os.fsdecode(name)))

    @_answer
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._folder(parent_inode).rmdir(os.fsdecode(name))

    @_answer
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return self._open_number(self._listings, list(self._folder(inode).children().items()))

    @_answer
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        # The listing is that of the opening: what changes meanwhile can shift no entry.
        for place, (name, node) in enumerate(self._listings[fh][start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, os.fsencode(name), self._attributes(node), place):
                break
            self._inodes.remember(node)

    async def releasedir(self, fh: int) -> None:
        self._listings.pop(fh, None)

    # Attributes.

    @_answer
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._attributes(self._inodes.node(inode))

    @_answer
    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._inodes.node(inode)
        if fields.update_mode or fields.update_uid or fields.update_gid:
            raise PermissionError(errno.EPERM, "owner and permissions are those of the mount")
        if fields.update_size and isinstance(node, File):
            await node.truncate(attr.st_size)
        return self._attributes(node)

    @_answer
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        figures = pyfuse3.StatvfsData()
        figures.f_bsize = figures.f_frsize = 4096
        figures.f_namemax = 255
        return figures

    # Open files.

    @_answer
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        node = self._inodes.node(inode)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "a folder")
        opening = Opening.from_flags(flags)
        node.check(opening)
        number = self._open_number(self._handles, await node.open(opening))
        return pyfuse3.FileInfo(
            fh=number, direct_io=not node.cached, keep_cache=False, nonseekable=node.stream
        )

    @_answer
    async def read(self, fh: int, off: int, size: int) -> bytes:
        request, file, handle = self._passed_on(fh)
        if request.by_page and not file.cached:
            # A page of such a file would be shared by whoever maps or splices it.
            raise OSError(errno.EINVAL, "the file is for read(2)")
        with _interruptible(request):
            return await handle.read(off, size)

    async def fallocate(self, request: libfuse.Allocation) -> None:
        """Answer what pyfuse3 has no handler for."""
        error = errno.EINTR
        try:
            await self._allocate(request)
            error = 0
        except pyfuse3.FUSEError as refused:
            error = refused.errno
        finally:
            request.answer(error)

    @_answer
    async def _allocate(self, request: libfuse.Allocation) -> None:
        with _interruptible(request):
            handle = self._handles[request.fh]
            await handle.allocate(request.mode, request.offset, request.length)

    @_answer
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        request, file, handle = self._passed_on(fh)
        if not file.stream:
            # Nobody could tell how much of it was taken.
            return await handle.write(off, buf)
        with _interruptible(request):
            return await handle.write(off, buf)

    @_answer
    async def flush(self, fh: int) -> None:
        await self._handles[fh].flush()

    @_answer
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._handles[fh].fsync()

    @_answer
    async def release(self, fh: int) -> None:
        await self._handles.pop(fh).release()

    @_answer
    async def poll(
        self, inode: int, fh: int, poll_handle: PollHandle | None, ctx: RequestContext
    ) -> int:
        watch = None if poll_handle is None else functools.partial(_notify, poll_handle)
        return await self._handles[fh].poll(watch)

    # What the tree does not have. Without these the kernel would say ENOSYS.

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        raise pyfuse3.FUSEError(errno.EPERM)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        raise pyfuse3.FUSEError(errno.EPERM)

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        raise pyfuse3.FUSEError(errno.EPERM)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        raise pyfuse3.FUSEError(errno.EPERM)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        raise pyfuse3.FUSEError(errno.EPERM)

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        raise pyfuse3.FUSEError(errno.EPERM)

    def _passed_on(self, fh: int) -> tuple[libfuse.Transfer, File, Handle]:
        """Return the request that a handler is called for, its file and its handle. The handler's
        first thing: what pyfuse3 calls next belongs to another request."""
        request = libfuse.passed_on()
        file, handle = self._inodes.node(request.inode), self._handles[fh]
        assert isinstance(file, File)
        handle.nonblocking = bool(request.flags & os.O_NONBLOCK)
        return request, file, handle

    def _folder(self, inode: int) -> Folder:
        node = self._inodes.node(inode)
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        return node

    def _open_number(self, table: dict[int, _T], entry: _T) -> int:
        number = next(self._next_handle)
        table[number] = entry
        return number

    def _entry(self, node: Node) -> EntryAttributes:
        self._inodes.remember(node)
        return self._attributes(node)

    def _attributes(self, node: Node) -> EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = self._inodes.number(node)
        entry.entry_timeout = entry.attr_timeout = 0.0
        entry.st_uid, entry.st_gid = self._ownership.uid, self._ownership.gid
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = node.changed_ns
        permissions = self._ownership.permissions(node)
        if isinstance(node, Folder):
            entry.st_mode = stat.S_IFDIR | permissions
            entry.st_nlink = 2
        else:
            entry.st_mode = stat.S_IFREG | permissions
        if isinstance(node, File):
            entry.st_size = node.size
            entry.st_blocks = -(-node.size // 512)
            if node.cached:
                entry.attr_timeout = CACHED_ATTRIBUTES
        return entry


@contextlib.contextmanager
def _interruptible(request: libfuse.Waiting) -> Iterator[None]:
    """Leave what is done for a request when its caller has a signal to see to. Raises
    InterruptedError then."""
    with trio.CancelScope() as scope:
        request.watch(scope.cancel)
        try:
            yield
        finally:
            request.unwatch()
    if scope.cancelled_caught:
        raise InterruptedError(errno.EINTR, "the caller has a signal to see to")


def _notify(poll_handle: PollHandle) -> None:
    try:
        poll_handle.notify()
    except OSError as error:
        event(logging.DEBUG, "poll-notification", reason=error.strerror)
