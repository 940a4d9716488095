# SPDX-License-Identifier: BSD-3-Clause
"""Requests in either framing, by the same code above it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.loopback import Background, receive_exactly, tcp_pair
from tests.unit.fabric.queue_rig import QUEUES, MakeQueue
from vof.drivers.block_carrier import PlainLimits
from vof.engine.native import NativeBlock, NativeQueue
from vof.errors import RemoteProtocolError, SessionLost, VofError
from vof.fabric.interface import Queue
from vof.initiator.virtqueue import Virtqueue
from vof.wire.dialect import DIALECTS, Framing

DISK = bytes(range(256)) * 64


class Device:
    """The far end: a read-write disk of 16 KiB that speaks one framing."""

    def __init__(self, make_queue: MakeQueue, framing: Framing) -> None:
        near, self.far = tcp_pair()
        self.queue = make_queue(near, "virtqueue 0", self._lost, None, 64, framing)
        self.framing = framing
        self.disk = bytearray(DISK)

    def close(self) -> None:
        self.queue.close()
        self.far.close()

    def take(self) -> tuple[int, bytes, list[tuple[int, int]]]:
        """Receive a request: its id, what the device reads, and (id, length) of what it writes."""
        head = receive_exactly(self.far, 16)
        opcode, ident = struct.unpack_from("<HH", head)
        if self.framing is Framing.LENGTHS:
            assert opcode == 0x0FFF
            out_length, in_length = struct.unpack_from("<II", head, 8)
            assert head[4:8] == bytes(4)
            return ident, receive_exactly(self.far, out_length), [(0, in_length)]
        assert opcode == {Framing.CHAINS: 0x2000, Framing.SEGMENTS: 0x0FFF}[self.framing]
        ndesc = struct.unpack_from("<H", head, 8)[0]
        table = receive_exactly(self.far, 24 * ndesc)
        descs = list(struct.iter_unpack("<QIHHI4x", table))
        last = len(descs) - 1
        for place, each in enumerate(descs):
            assert each[3] & 1 == (self.framing is Framing.CHAINS and place < last)
        readable = receive_exactly(self.far, sum(each[1] for each in descs if not each[3] & 2))
        return ident, readable, [(each[2], each[1]) for each in descs if each[3] & 2]

    def answer(self, ident: int, writable: list[tuple[int, int]], data: bytes) -> None:
        if self.framing is Framing.LENGTHS:
            self.far.sendall(struct.pack("<HH4xII", 0, ident, len(data), len(data)) + data)
            return
        parts = [struct.pack("<HHHHQ", 0, ident, len(writable), 0, len(data))]
        parts += [struct.pack("<QIHHI4x", 0, length, each, 2, 0) for each, length in writable]
        self.far.sendall(b"".join([*parts, data]))

    def serve(self, count: int) -> None:
        for _ in range(count):
            ident, readable, writable = self.take()
            kind, _ioprio, sector = struct.unpack_from("<IIQ", readable)
            place, size = sector * 512, sum(length for _id, length in writable) - 1
            if kind == 1:
                self.disk[place : place + len(readable) - 16] = readable[16:]
            data = self.disk[place : place + size] if kind == 0 else b""
            self.answer(ident, writable, bytes(data) + b"\0")

    @staticmethod
    def _lost(queue: Queue, error: VofError, in_flight: object) -> None:
        assert isinstance(in_flight, list)
        for item in in_flight:
            queue.end(item, error)


@pytest.fixture(params=Framing, ids=lambda framing: framing.value)
def framing(request: pytest.FixtureRequest) -> Framing:
    found: Framing = request.param
    return found


@pytest.fixture
def device(leaves_nothing: None, make_queue: MakeQueue, framing: Framing) -> Iterator[Device]:
    device = Device(make_queue, framing)
    yield device
    device.close()


def test_a_read_and_a_write(device: Device) -> None:
    dialect = next(each for each in DIALECTS if each.framing is device.framing)
    virtqueue = Virtqueue(0, 64, device.queue, dialect)
    far = Background(device.serve, 2)
    data, status = bytearray(1000), bytearray(b"\xff")
    header = struct.pack("<IIQ", 1, 0, 2)
    write = virtqueue.submit("write", [16, 512], [header, b"w" * 512], [memoryview(status)])
    assert write is not None
    virtqueue.wait(write)
    header = struct.pack("<IIQ", 0, 0, 1)
    buffers = [memoryview(data)[:600], memoryview(data)[600:], memoryview(status)]
    read = virtqueue.submit("read", [16], [header], buffers)
    assert read is not None
    arrival = virtqueue.wait(read)
    far.result()
    assert list(arrival.lengths) == [600, 400, 1]
    assert data == DISK[512:1024] + b"w" * 488
    assert status == b"\0"


def limits(**changes: Any) -> PlainLimits:
    plain = PlainLimits(
        size=len(DISK),
        block_size=512,
        size_max=1024,
        max_transfer=8192,
        max_discard=0,
        max_write_zeroes=0,
        may_unmap=False,
        can_flush=True,
        read_only=False,
    )
    return plain._replace(**changes)


class Told(Exception):
    """What a carrier said of a request that failed."""


def tell(what: str, refused: int, status: int | None, arrived: int, wanted: int) -> None:
    raise Told(what, refused, status, arrived, wanted)


@pytest.mark.parametrize("make_queue", [QUEUES["native"]])
class TestCarrier:
    """The engine's own requests."""

    @pytest.fixture
    def block(self, device: Device) -> NativeBlock:
        assert isinstance(device.queue, NativeQueue)
        return NativeBlock([device.queue], limits(), tell)

    def test_carries_whole_blocks(self, device: Device, block: NativeBlock) -> None:
        far = Background(device.serve, 4)
        assert block.write(b"x" * 2560, 512)
        data = memoryview(bytearray(4096))
        assert block.read(data, 0)
        assert block.flush()
        far_data = memoryview(bytearray(512))
        assert block.read(far_data, len(DISK) - 512)
        far.result()
        assert bytes(data) == DISK[:512] + b"x" * 2560 + DISK[3072:4096]
        assert bytes(far_data) == DISK[-512:]

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, 0), (0, 511), (1, 512), (256, 512), (0, 8704), (len(DISK), 512),
            (len(DISK) - 512, 1024), ((1 << 64) - 512, 512), ((1 << 64) - 512, 1024),
        ],
    )  # fmt: skip
    def test_declines_all_else(
        self, device: Device, block: NativeBlock, offset: int, length: int
    ) -> None:
        assert not block.read(memoryview(bytearray(length)), offset)
        assert not block.write(bytes(length), offset)
        assert not block.discard(offset, length)
        assert not block.write_zeroes(offset, length, False)
        assert device.queue.statistics().submitted == 0

    def test_declines_what_the_device_does_not_take(self, device: Device) -> None:
        assert isinstance(device.queue, NativeQueue)
        block = NativeBlock([device.queue], limits(read_only=True, can_flush=False), tell)
        assert not block.write(bytes(512), 0)
        assert block.flush(), "nothing has to be done"
        assert device.queue.statistics().submitted == 0

    def test_declines_when_the_queue_has_ended(self, device: Device, block: NativeBlock) -> None:
        device.queue.fail(SessionLost("over"))
        assert not block.read(memoryview(bytearray(512)), 0)
        assert not block.write(bytes(512), 0)

    def test_declines_a_request_whose_connection_is_lost_under_it(
        self, device: Device, block: NativeBlock
    ) -> None:
        read = Background(block.read, memoryview(bytearray(512)), 0)
        device.take()
        device.far.close()
        assert read.result() is False
        assert device.queue.error is not None

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (bytes(512) + b"\1", ("VIRTIO_BLK_T_IN", 0, 1, 0, 0)),
            (bytes(512) + b"\2", ("VIRTIO_BLK_T_IN", 0, 2, 0, 0)),
        ],
    )
    def test_tells_what_the_device_said(
        self, device: Device, block: NativeBlock, data: bytes, told: tuple[object, ...]
    ) -> None:
        def far() -> None:
            ident, _readable, writable = device.take()
            device.answer(ident, writable, data)

        peer = Background(far)
        with pytest.raises(Told) as caught:
            block.read(memoryview(bytearray(512)), 0)
        assert caught.value.args == told
        peer.result()
        count = device.queue.counts()["VIRTIO_BLK_T_IN"]
        assert count[:5] == (1, 512, 0, 1, 0)

    def test_tells_of_a_refusal(self, device: Device, block: NativeBlock) -> None:
        def far() -> None:
            ident, _readable, _writable = device.take()
            device.far.sendall(struct.pack("<HHHHQ", 5, ident, 0, 0, 0))

        peer = Background(far)
        with pytest.raises(Told) as caught:
            block.write(bytes(512), 0)
        assert caught.value.args[:2] == ("VIRTIO_BLK_T_OUT", 5)
        peer.result()
        count = device.queue.counts()["VIRTIO_BLK_T_OUT"]
        assert count[:5] == (1, 0, 1, 0, 0)

    def test_tells_of_a_completion_without_a_status(
        self, device: Device, block: NativeBlock, framing: Framing
    ) -> None:
        def far() -> None:
            ident, _readable, writable = device.take()
            if framing is Framing.LENGTHS:
                device.answer(ident, writable, bytes(512))
                return
            lengths = [(each, 0 if place else length) for place, (each, length) in
                       enumerate(writable)]  # fmt: skip
            device.answer(ident, lengths, bytes(512))

        peer = Background(far)
        with pytest.raises(Told) as caught:
            block.read(memoryview(bytearray(512)), 0)
        assert caught.value.args == ("VIRTIO_BLK_T_IN", 0, None, 0, 0)
        peer.result()

    def test_a_write_waits_for_one_that_is_alone(self, device: Device, block: NativeBlock) -> None:
        block.enter_alone()
        write = Background(block.write, bytes(512), 0)
        read = Background(block.read, memoryview(bytearray(512)), 0)
        far = Background(device.serve, 2)
        assert read.result()
        assert write.running
        assert device.queue.statistics().submitted == 1
        block.leave_alone()
        assert write.result()
        far.result()

    def test_a_hostile_answer_ends_the_queue(self, device: Device, block: NativeBlock) -> None:
        read = Background(block.read, memoryview(bytearray(512)), 0)
        device.take()
        device.far.sendall(struct.pack("<HHHHQ", 0, 999, 0, 0, 0))
        assert read.result() is False
        assert isinstance(device.queue.error, RemoteProtocolError)
