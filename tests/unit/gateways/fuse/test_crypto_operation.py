# SPDX-License-Identifier: BSD-3-Clause
"""Operation files and session folders, without a kernel: what overlapping calls do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from tests.support.protocol_numbers import VRING
from tests.support.scripted_target import Command
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import RESULT, Answers, device, opcode, open_driver
from vof.errors import VofError
from vof.gateways.crypto.algorithms import offered
from vof.gateways.fuse.crypto import MAX_SESSIONS, SessionsFolder
from vof.gateways.fuse.crypto_device import CryptoDevice
from vof.gateways.fuse.errnos import fuse_errno
from vof.gateways.fuse.nodes import File, Folder, Handle, Opening

BOTH = Opening(read=True, write=True)
WRITE = Opening(read=False, write=True)
READ = Opening(read=True, write=False)

ENCRYPT = 0x000


class Rig:
    """``sessions`` of a scripted device."""

    def __init__(self, serve: Serve, *hooks: Callable[[Command], bool]) -> None:
        self.target = serve(device(), *hooks)
        self.driver = open_driver(self.target)
        self.device = CryptoDevice(self.driver)
        self.sessions = SessionsFolder(self.device, offered(self.driver))

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        try:
            trio.run(main)
        finally:
            self.driver.close()

    async def session(self, name: str = "a") -> Folder:
        folder = await self.sessions.mkdir(name)
        assert isinstance(folder, Folder)
        await store(folder, "algorithm", b"aes-128-ctr\n")
        await store(folder, "key", b"k" * 16)
        await store(folder, "iv", b"00" * 16)
        return folder


async def opened(folder: Folder, name: str, opening: Opening = BOTH) -> Handle:
    node = await folder.lookup(name)
    assert isinstance(node, File)
    return await node.open(opening)


async def store(folder: Folder, name: str, value: bytes) -> None:
    handle = await opened(folder, name, WRITE)
    assert await handle.write(0, value) == len(value)
    await handle.release()


async def text(folder: Folder, name: str) -> str:
    return (await (await opened(folder, name, READ)).read(0, 4096)).decode()


@contextlib.contextmanager
def refused(number: int) -> Iterator[None]:
    with pytest.raises((OSError, VofError)) as caught:
        yield
    assert fuse_errno(caught.value) == number


def test_readers_at_once_have_one_operation(serve: Serve) -> None:
    rig = Rig(serve, Answers())
    parts: list[bytes] = []

    async def main() -> None:
        folder = await rig.session()
        handle = await opened(folder, "encrypt")
        await handle.write(0, bytes(100))

        async def read(place: int) -> None:
            parts.append(await handle.read(100 + place, 10))

        async with trio.open_nursery() as nursery:
            for place in range(0, 100, 10):
                nursery.start_soon(read, place)
        await handle.release()
        assert "operations: 1\n" in await text(folder, "status")

    rig.run(main)
    assert parts == [RESULT * 10] * 10
    assert [opcode(each) for each in rig.target.requests()].count(ENCRYPT) == 1


def test_a_writer_while_it_is_done(serve: Serve) -> None:
    held: list[Command] = []

    def hold(command: Command) -> bool:
        if command.opcode == VRING and opcode(command) == ENCRYPT:
            held.append(command)
            return True
        return False

    rig = Rig(serve, hold, Answers())

    async def main() -> None:
        handle = await opened(await rig.session(), "encrypt")
        await handle.write(0, bytes(16))

        async def read() -> None:
            with refused(errno.EBUSY):
                await handle.read(16, 100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while not held:
                await trio.sleep(0.001)
            with refused(errno.EBUSY):
                await handle.write(16, b"more")
            held[0].complete(RESULT * 16, b"\0")
        await read()
        await handle.release()

    rig.run(main)


def test_a_reader_that_is_cancelled_leaves_it_to_the_next(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        handle = await opened(await rig.session(), "encrypt")
        await handle.write(0, bytes(16))
        with trio.CancelScope() as scope:
            scope.cancel()
            await handle.read(16, 100)
        assert scope.cancelled_caught
        assert await handle.read(16, 100) == RESULT * 16
        await handle.release()

    rig.run(main)


def test_a_device_that_lies(serve: Serve) -> None:
    rig = Rig(serve, Answers({ENCRYPT: [bytes(3), b"\0"]}))

    async def main() -> None:
        folder = await rig.session()
        handle = await opened(folder, "encrypt")
        await handle.write(0, bytes(16))
        for _ in range(2):
            with refused(errno.EIO):
                await handle.read(16, 100)
        status = await text(folder, "status")
        assert "state: lost: " in status
        assert "cipher_encrypt succeeded with 3 of 16 bytes" in status
        await handle.release()

    rig.run(main)


def test_a_key_in_parts_and_what_is_left_of_it(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        folder = await rig.sessions.mkdir("a")
        assert isinstance(folder, Folder)
        await store(folder, "algorithm", b"hmac-sha256")
        handle = await opened(folder, "key", WRITE)
        await handle.write(0, b"UNSPEAK")
        for place in (0, 3, 12, 1 << 62):
            with refused(errno.EINVAL):
                await handle.write(place, b"x")
        with refused(errno.EINVAL):
            await opened(folder, "digest")
        await handle.write(7, b"ABLE")
        with refused(errno.EINVAL):
            await handle.read(0, 100)
        await handle.release()
        assert not any(handle._value)  # type: ignore[attr-defined]
        digest = await opened(folder, "digest")
        assert len(await digest.read(0, 100)) == 32
        await digest.release()
        assert "UNSPEAK" not in await text(folder, "status")

    rig.run(main)
    [create] = [each for each in rig.target.requests() if opcode(each) == 0x202]
    assert create.payload.endswith(b"UNSPEAKABLE")


def test_values_in_parts(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        folder = await rig.session()
        handle = await opened(folder, "iv", WRITE)
        with refused(errno.EINVAL):
            await handle.write(0, b"0")
        await handle.write(0, b"11" * 16)
        assert await text(folder, "iv") == "11" * 16 + "\n"

    rig.run(main)


def test_what_was_opened_before_another_algorithm(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        folder = await rig.session()
        node = await folder.lookup("encrypt")
        iv = await opened(folder, "iv", WRITE)
        assert isinstance(node, File)
        await store(folder, "algorithm", b"sha256")
        with pytest.raises(FileNotFoundError):
            await folder.lookup("encrypt")
        with refused(errno.ENOENT):
            await node.open(BOTH)
        with refused(errno.EINVAL):
            await iv.write(0, b"11" * 16)

    rig.run(main)


def test_what_was_opened_before_the_removal(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        folder = await rig.session()
        node = await folder.lookup("encrypt")
        assert isinstance(node, File)
        handles = [await opened(folder, name, WRITE) for name in ("algorithm", "key", "iv")]
        status = await opened(folder, "status", READ)
        await rig.sessions.rmdir("a")
        assert folder.children() == {}
        for handle, value in zip(handles[1:], (b"k" * 16, b"00" * 16), strict=True):
            with refused(errno.ESTALE):
                await handle.write(0, value)
        with refused(errno.ESTALE):
            await handles[0].write(0, b"sha256")
        with refused(errno.ESTALE):
            await node.open(BOTH)
        assert await status.read(0, 100)
        assert rig.device.sessions == 0

    rig.run(main)


def test_a_flood_of_folders(serve: Serve) -> None:
    rig = Rig(serve, Answers())

    async def main() -> None:
        for number in range(MAX_SESSIONS):
            await rig.sessions.mkdir(str(number))
        for _ in range(1000):
            with refused(errno.ENOSPC):
                await rig.sessions.mkdir("more")
        assert rig.target.requests() == []
        await rig.sessions.rmdir("7")
        await rig.sessions.mkdir("more")

    rig.run(main)
