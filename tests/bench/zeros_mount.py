# SPDX-License-Identifier: BSD-3-Clause
"""Mounts one file of zeros without end: what pyfuse3 costs when there is nothing behind it.

`python zeros_mount.py FOLDER`, until it is unmounted or a SIGTERM comes.
"""

from __future__ import annotations

import errno
import signal
import stat
import sys
from typing import TYPE_CHECKING

import pyfuse3
import trio

if TYPE_CHECKING:
    from pyfuse3 import EntryAttributes, FileInfo, RequestContext

NAME = b"zeros"
INODE = pyfuse3.InodeT(pyfuse3.ROOT_INODE + 1)
ZEROS = bytes(1 << 20)


class Zeros(pyfuse3.Operations):
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if name != NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(INODE, ctx)

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        folder = inode == pyfuse3.ROOT_INODE
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o755 if folder else stat.S_IFREG | 0o444)
        return entry

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        # As vof-mount's `random`: no page is kept by the kernel.
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(0), direct_io=True, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return ZEROS[:size]


async def serve() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave_on_signal)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def leave_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _number in signals:
            pyfuse3.terminate()


def main() -> None:
    pyfuse3.init(Zeros(), sys.argv[1], {"default_permissions", "fsname=zeros"})
    try:
        trio.run(serve)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
