# SPDX-License-Identifier: BSD-3-Clause
"""Mounts one image whose upper half is as slow as the test wants: `python slow_disk.py FOLDER`.

A read of the upper half says `held` on standard output and waits until something comes on standard
input; then all that are held go on, and later ones are not. No other read waits for it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3
import trio

if TYPE_CHECKING:
    from pyfuse3 import EntryAttributes, FileInfo, RequestContext

NAME = "slow.img"
SIZE = 2 << 20
HALF = SIZE // 2
INODE = pyfuse3.InodeT(pyfuse3.ROOT_INODE + 1)


def content(offset: int, size: int) -> bytes:
    """Return bytes in which every sector shows."""
    return b"".join(
        (place // 512).to_bytes(2, "little") * 256 for place in range(offset, offset + size, 512)
    )


class SlowDisk(pyfuse3.Operations):
    """The image; reads come in whole sectors, because it is opened for direct I/O."""

    def __init__(self) -> None:
        super().__init__()
        self.released = trio.Event()

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if name != NAME.encode():
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(INODE, ctx)

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        folder = inode == pyfuse3.ROOT_INODE
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o755 if folder else stat.S_IFREG | 0o444)
        entry.st_size = 0 if folder else SIZE
        return entry

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(0), direct_io=True, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        if off >= HALF and not self.released.is_set():
            os.write(1, b"held\n")
            await self.released.wait()
        return content(off, size)


async def serve(disk: SlowDisk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(release, disk)
        os.write(1, b"mounted\n")
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def release(disk: SlowDisk) -> None:
    """Let go at the first line; leave at the end of the input."""
    await trio.lowlevel.wait_readable(0)
    if os.read(0, 1):
        disk.released.set()
        await trio.lowlevel.wait_readable(0)
    pyfuse3.terminate()


def main() -> None:
    disk = SlowDisk()
    pyfuse3.init(disk, str(Path(sys.argv[1])), {"default_permissions", "fsname=slow"})
    try:
        trio.run(serve, disk)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
