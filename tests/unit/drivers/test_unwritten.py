# SPDX-License-Identifier: BSD-3-Clause
"""A device over RDMA that says it has written everything, and has written nothing: what an earlier
request has left in the memory, a good status too, is no answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.drivers.crypto_device import config
from tests.unit.fabric.rdma.keyed_rig import SIZE, KeyedRig
from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import Geometry
from vof.drivers.crypto import CryptoDriver
from vof.drivers.crypto_slots import Slots
from vof.drivers.rng import RngDriver
from vof.errors import DeviceError
from vof.initiator.session import Session
from vof.initiator.virtqueue import Virtqueue
from vof.wire.blk import Feature as BlockFeature
from vof.wire.crypto import CipherAlgorithm, Config, DataOpcode, Direction, Feature, HashAlgorithm
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import CipherParameters, HashParameters
from vof.wire.dialect import PROPOSAL, Framing
from vof.wire.structs import unpack

UNWRITTEN = "without writing a status"
WRITTEN = b"\0"


class Liar:
    """The far end: writes zeros once where ``writes`` is set, and nothing from then on."""

    def __init__(self, rig: KeyedRig) -> None:
        self.writes = True
        self._far = rig.far
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._far.arrived.put(None)  # type: ignore[arg-type]
        self._thread.join()

    def _serve(self) -> None:
        while (message := self._far.receive()) is not None:
            used = 0
            for buffer, _ident, flags in message.segments():
                if flags & 2:
                    used += buffer.length
                    if self.writes:
                        self._far.write(buffer, WRITTEN * buffer.length)
            self._far.complete(message.command_id, used)


@pytest.fixture
def rig(leaves_nothing: None) -> Iterator[KeyedRig]:
    rig = KeyedRig(Framing.SEGMENTS)
    yield rig
    rig.close()


@pytest.fixture
def liar(rig: KeyedRig) -> Iterator[Liar]:
    liar = Liar(rig)
    yield liar
    liar.join()


@pytest.fixture
def queue(rig: KeyedRig) -> Virtqueue:
    return Virtqueue(0, SIZE, rig.queue, PROPOSAL)


def session(queue: Virtqueue) -> Session:
    return cast("Session", SimpleNamespace(where="the liar", tvqn="a/b", virtqueues=[queue]))


def test_a_block_read(queue: Virtqueue, liar: Liar) -> None:
    geometry = Geometry(1 << 20, 512, 512, 0, 1 << 16, 1 << 16, 0, 0, 0, False)
    driver = BlockDriver(session(queue), BlockFeature(0), geometry, [queue])
    data = memoryview(bytearray(b"?" * 512))

    def read() -> None:
        request = driver.start_read(0, data)
        assert request is not None
        driver.finish(request)

    read()
    assert bytes(data) == bytes(512)
    liar.writes = False
    with pytest.raises(DeviceError, match=UNWRITTEN):
        read()


def test_crypto(queue: Virtqueue, liar: Liar) -> None:
    slots = Slots([queue], 7)
    features = Feature.REVISION_1 | Feature.HASH_STATELESS_MODE
    driver = CryptoDriver(session(queue), features, unpack(Config, config()), slots, slots)
    cipher = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, bytes(16))
    digest = DataRequest(
        DataOpcode.HASH,
        parameters=HashParameters(HashAlgorithm.SHA_256, 32),
        src=b"data",
        result_len=32,
    )
    assert driver.create_session(cipher) == 0
    assert driver.execute(digest) == bytes(32)
    liar.writes = False
    with pytest.raises(DeviceError, match=UNWRITTEN):
        driver.create_session(cipher)
    with pytest.raises(DeviceError, match=UNWRITTEN):
        driver.execute(digest)
    with pytest.raises(DeviceError, match=UNWRITTEN):
        driver.destroy_session(cipher.service, 0)


def test_rng(rig: KeyedRig, queue: Virtqueue) -> None:
    """There is no status: what was handed out already is not handed out again."""
    driver = RngDriver(session(queue), queue)
    for sent, expected in ((b"random bytes!", b"random bytes!"), (b"", bytes(13))):
        data = memoryview(bytearray(13))
        answer = threading.Thread(target=_answer, args=(rig, sent))
        answer.start()
        assert driver.read(data) == 13
        answer.join()
        assert bytes(data) == expected


def _answer(rig: KeyedRig, data: bytes) -> None:
    message = rig.far.receive()
    [(buffer, _ident, _flags)] = message.segments()
    rig.far.write(buffer, data)
    rig.far.complete(message.command_id, buffer.length)
