# SPDX-License-Identifier: BSD-3-Clause
"""Folders, texts and attributes, without a mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import pytest
import trio

from vof.errors import ConfigError
from vof.gateways.fuse.nodes import (
    Access,
    AttributeFile,
    File,
    Folder,
    Handle,
    Opening,
    TextFile,
)

READING = Opening(read=True, write=False)
WRITING = Opening(read=False, write=True)


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def run(function: Callable[[], Awaitable[None]]) -> None:
    trio.run(function)


def test_openings() -> None:
    assert Opening.from_flags(os.O_RDONLY) == READING
    assert Opening.from_flags(os.O_WRONLY | os.O_APPEND) == WRITING
    assert Opening.from_flags(os.O_RDWR | os.O_NONBLOCK | os.O_SYNC) == Opening(
        read=True, write=True, synchronous=True
    )
    assert Opening.from_flags(os.O_RDWR | os.O_DSYNC).synchronous


def test_a_folder() -> None:
    async def main() -> None:
        text = TextFile(lambda: "x")
        folder = Folder({"a": text})
        assert folder.children() == {"a": text}
        assert await folder.lookup("a") is text
        with refused(errno.ENOENT):
            await folder.lookup("b")
        with refused(errno.EPERM):
            await folder.mkdir("b")
        with refused(errno.EPERM):
            await folder.rmdir("a")

    run(main)


def test_a_text_is_made_when_it_is_opened() -> None:
    async def main() -> None:
        value = "one"
        file = TextFile(lambda: value)
        first = await file.open(READING)
        value = "two"
        assert await first.read(0, 100) == b"one"
        assert await first.read(1, 1) == b"n"
        assert await first.read(3, 10) == b""
        assert await (await file.open(READING)).read(0, 10) == b"two"
        with refused(errno.EINVAL):
            await first.write(0, b"x")

    run(main)


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE, Access.BOTH])
def test_access(access: Access) -> None:
    file = File()
    file.access = access
    for opening, bit in ((READING, 0o400), (WRITING, 0o200)):
        if access & bit:
            file.check(opening)
        else:
            with refused(errno.EACCES):
                file.check(opening)


def test_sizes() -> None:
    async def main() -> None:
        file = File()
        await file.truncate(0)
        with refused(errno.EINVAL):
            await file.truncate(1)

    run(main)


def test_an_attribute() -> None:
    async def main() -> None:
        stored: list[bytes] = []

        async def store(value: bytes) -> None:
            if b"!" in value:
                raise ConfigError("no")
            stored.append(value)

        file = AttributeFile(store, limit=10)
        assert file.access is Access.WRITE
        handle = await file.open(WRITING)
        assert await handle.write(0, b"abc") == 3
        assert await handle.write(3, b"def") == 3
        assert stored == [b"abc", b"abcdef"]
        with refused(errno.EINVAL):
            await handle.write(7, b"xyz")
        with refused(errno.EFBIG):
            await handle.write(6, b"12345")
        with refused(errno.EFBIG):
            await handle.write(1 << 60, b"x")
        with pytest.raises(ConfigError):
            await handle.write(6, b"!")
        await handle.write(6, b"g")
        assert stored[-1] == b"abcdefg"
        assert await handle.write(0, b"new") == 3
        assert stored[-1] == b"new"
        await handle.release()

    run(main)


def test_an_attribute_that_can_be_read() -> None:
    async def main() -> None:
        value = b"old\n"

        async def store(new: bytes) -> None:
            nonlocal value
            value = new

        def show() -> str:
            return value.decode()

        file = AttributeFile(store, show)
        assert file.access is Access.BOTH
        handle = await file.open(Opening(read=True, write=True))
        assert await handle.read(0, 100) == b"old\n"
        await handle.write(0, b"new\n")
        assert await (await file.open(READING)).read(0, 100) == b"new\n"

    run(main)


def test_a_handle_can_do_nothing_by_itself() -> None:
    async def main() -> None:
        handle = Handle()
        with refused(errno.EINVAL):
            await handle.read(0, 1)
        with refused(errno.EINVAL):
            await handle.write(0, b"")
        await handle.flush()
        await handle.fsync()
        await handle.release()

    run(main)
