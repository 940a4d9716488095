# SPDX-License-Identifier: BSD-3-Clause
"""The device's sessions behind a folder's: made when needed, once, and given back."""

from __future__ import annotations

import errno
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.support.protocol_numbers import VENDOR_VTGT, VRING
from tests.support.scripted_target import Command, Device, ScriptedTarget
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import (
    F_REVISION_1,
    RESULT,
    Answers,
    device,
    opcode,
    open_driver,
)
from vof.errors import DeviceError, SessionLost, VofError
from vof.gateways.crypto.algorithms import ALGORITHMS, Operation
from vof.gateways.crypto.jobs import Setup, make_job
from vof.gateways.crypto.keys import Key
from vof.gateways.fuse.crypto_device import CryptoDevice, KeySessions

CREATE, DESTROY, ENCRYPT, DIGEST = 0x002, 0x003, 0x000, 0x100

IN_SESSIONS = F_REVISION_1
"""A device without stateless mode."""

INVSESS, NOSPC = 4, 5


class Rig:
    """A scripted device with an AES key on it."""

    def __init__(self, serve: Serve, about: Device, *hooks: Callable[[Command], bool]) -> None:
        self.target: ScriptedTarget = serve(about, *hooks)
        self.driver = open_driver(self.target)
        self.device = CryptoDevice(self.driver)
        self.key = Key(bytearray(b"k" * 16))
        self.setup = Setup(ALGORITHMS["aes-128-ctr"], self.key, iv=bytes(16))
        self.sessions = KeySessions(self.device, self.setup.algorithm.service, self.key)

    async def encrypt(self, size: int = 20) -> bytes:
        return await self.sessions.run(make_job(self.setup, Operation.ENCRYPT, bytes(size)))

    async def decrypt(self) -> bytes:
        return await self.sessions.run(make_job(self.setup, Operation.DECRYPT, bytes(20)))

    def sent(self) -> list[int]:
        return [opcode(command) for command in self.target.requests()]

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        try:
            trio.run(main)
        finally:
            self.driver.close()


def test_a_session_is_made_when_it_is_needed(serve: Serve) -> None:
    rig = Rig(serve, device(), Answers())

    async def main() -> None:
        assert rig.sent() == []
        for _ in range(3):
            assert await rig.encrypt() == RESULT * 20
        assert rig.sent() == [CREATE, ENCRYPT, ENCRYPT, ENCRYPT]
        await rig.decrypt()
        assert rig.sent().count(CREATE) == len(rig.sessions) == rig.device.sessions == 2
        await rig.sessions.release()
        assert rig.sent()[-2:] == [DESTROY, DESTROY]
        assert rig.device.sessions == 0
        assert rig.key.material == bytes(16)

    rig.run(main)


def test_many_tasks_share_it(serve: Serve) -> None:
    rig = Rig(serve, device(IN_SESSIONS), Answers())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(rig.encrypt)
        assert rig.sent().count(CREATE) == 1
        assert rig.device.operations == 50

    rig.run(main)


def test_the_reference_target_gets_one_at_a_time(serve: Serve) -> None:
    rig = Rig(serve, device(about={"vendor_id": VENDOR_VTGT}), Answers())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(rig.encrypt)
                nursery.start_soon(rig.decrypt)
        assert {command.command_id for command in rig.target.requests()} == {0}
        assert rig.device.operations == 60

    rig.run(main)


def test_hashes_need_no_session_where_that_is_offered(serve: Serve) -> None:
    for features, expected in ((0b111111, [DIGEST]), (IN_SESSIONS, [0x102, DIGEST])):
        rig = Rig(serve, device(features), Answers())
        setup = Setup(ALGORITHMS["sha256"])
        sessions = KeySessions(rig.device, setup.algorithm.service, None)

        async def main(sessions: KeySessions = sessions, setup: Setup = setup) -> None:
            await sessions.run(make_job(setup, Operation.DIGEST, b""))

        rig.run(main)
        assert rig.sent() == expected


class TestRoom:
    """A device without room for a session."""

    FULL = struct.pack("<QII", 0, NOSPC, 0)

    def test_that_does_without(self, serve: Serve) -> None:
        rig = Rig(serve, device(), Answers({CREATE: [self.FULL]}))

        async def main() -> None:
            assert await rig.encrypt() == RESULT * 20
            assert rig.device.sessions == 0

        rig.run(main)
        assert rig.sent() == [CREATE, ENCRYPT]

    def test_that_does_not(self, serve: Serve) -> None:
        rig = Rig(serve, device(IN_SESSIONS), Answers({CREATE: [self.FULL]}))

        async def main() -> None:
            with pytest.raises(DeviceError) as caught:
                await rig.encrypt()
            assert caught.value.errno == errno.ENOSPC

        rig.run(main)


class TestForgotten:
    """A device that does not know a session any more."""

    @staticmethod
    def forgetting(times: int) -> Callable[[Command], bool]:
        left = times

        def hook(command: Command) -> bool:
            nonlocal left
            if command.opcode != VRING or opcode(command) != ENCRYPT or not left:
                return False
            left -= 1
            command.complete(bytes(20), bytes([INVSESS]))
            return True

        return hook

    def test_once(self, serve: Serve) -> None:
        rig = Rig(serve, device(IN_SESSIONS), self.forgetting(1), Answers())

        async def main() -> None:
            assert await rig.encrypt() == RESULT * 20
            assert rig.device.sessions == len(rig.sessions) == 1

        rig.run(main)
        assert rig.sent() == [CREATE, ENCRYPT, CREATE, ENCRYPT]

    def test_again_and_again(self, serve: Serve) -> None:
        rig = Rig(serve, device(IN_SESSIONS), self.forgetting(99), Answers())

        async def main() -> None:
            for _ in range(3):
                with pytest.raises(DeviceError) as caught:
                    await rig.encrypt()
                assert caught.value.errno == errno.ESTALE
            await rig.sessions.end()
            assert rig.device.sessions == 0

        rig.run(main)

    def test_by_many_tasks_at_once(self, serve: Serve) -> None:
        rig = Rig(serve, device(IN_SESSIONS), self.forgetting(10), Answers())
        outcomes: list[int] = []

        async def one() -> None:
            try:
                outcomes.append(len(await rig.encrypt()))
            except VofError as error:
                outcomes.append(-error.errno)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(one)
            # By now it has forgotten all that it is going to, or nearly.
            for _ in range(10):
                await one()
            assert outcomes[-1] == 20
            assert rig.device.sessions == len(rig.sessions) == 1

        rig.run(main)
        assert set(outcomes) <= {20, -errno.ESTALE}
        assert len(outcomes) == 20


class TestTheEnd:
    def test_nothing_begins_after_it(self, serve: Serve) -> None:
        rig = Rig(serve, device(), Answers())

        async def main() -> None:
            await rig.encrypt()
            await rig.sessions.end()
            assert rig.key.material == bytes(16)
            with pytest.raises(OSError, match="the session was removed") as caught:
                await rig.encrypt()
            assert caught.value.errno == errno.ESTALE
            await rig.sessions.release()
            assert rig.sent() == [CREATE, ENCRYPT, DESTROY]

        rig.run(main)

    def test_an_operation_that_runs_is_waited_for(self, serve: Serve) -> None:
        held: list[Command] = []

        def hold(command: Command) -> bool:
            if command.opcode == VRING and opcode(command) == ENCRYPT:
                held.append(command)
                return True
            return False

        rig = Rig(serve, device(), hold, Answers())
        results: list[bytes] = []

        async def one() -> None:
            results.append(await rig.encrypt())

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                while not held:
                    await trio.sleep(0.001)
                await rig.sessions.end()
                assert rig.key.material == b"k" * 16
                assert DESTROY not in rig.sent()
                held[0].complete(RESULT * 20, b"\0")
            assert rig.key.material == bytes(16)
            assert rig.sent() == [CREATE, ENCRYPT, DESTROY]

        rig.run(main)
        assert results == [RESULT * 20]

    def test_others_that_hold_it(self, serve: Serve) -> None:
        rig = Rig(serve, device(), Answers())

        async def main() -> None:
            rig.sessions.hold()
            await rig.sessions.release()
            assert await rig.encrypt() == RESULT * 20
            await rig.sessions.release()
            assert rig.sent() == [CREATE, ENCRYPT, DESTROY]

        rig.run(main)

    def test_a_device_that_does_not_let_go(self, serve: Serve) -> None:
        rig = Rig(serve, device(), Answers({DESTROY: [b"\1"]}))

        async def main() -> None:
            await rig.encrypt()
            await rig.sessions.end()
            assert rig.device.sessions == 0

        rig.run(main)

    def test_of_the_association(self, serve: Serve) -> None:
        rig = Rig(serve, device(), Answers({ENCRYPT: [b"", b""]}))

        async def main() -> None:
            for _ in range(2):
                with pytest.raises(SessionLost):
                    await rig.encrypt()
            await rig.sessions.end()
            assert rig.key.material == bytes(16)

        rig.run(main)
