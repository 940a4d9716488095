# SPDX-License-Identifier: BSD-3-Clause
"""The block device model without any socket: offer, config, write cache, errors of the disk."""

from __future__ import annotations

import logging
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.asking import ask
from tests.unit.target.disk import EIO, NotingBackend
from vof.errors import ConfigError, RemoteProtocolError
from vof.target.devices.block import BlockDevice, BlockOptions
from vof.target.devices.block_request import BlockRequests, RequestLimits, Rules, ServedSize
from vof.target.devices.device import DeviceInstance
from vof.wire.blk import WRITEBACK_OFFSET, Feature

IN, OUT, FLUSH, DISCARD, WRITE_ZEROES, SECURE_ERASE = 0, 1, 4, 11, 13, 14
OK, IOERR, UNSUPP = 0, 1, 2


def make(
    mask: int = 0, *, backend: NotingBackend | None = None, **options: object
) -> tuple[BlockDevice, NotingBackend]:
    backend = backend or NotingBackend()
    device = BlockDevice("a/b", mask, BlockOptions(**options), backend)  # type: ignore[arg-type]
    return device, backend


def request(
    instance: DeviceInstance, kind: int, sector: int = 0, data: bytes = b"", room: int = 0
) -> tuple[int, bytes]:
    writable = memoryview(bytearray(b"\xcc" * (room + 1)))
    readable = memoryview(struct.pack("<IIQ", kind, 0, sector) + data)
    assert ask(instance, readable, writable) == room + 1
    return writable[-1], bytes(writable[:-1])


def field(instance: DeviceInstance, offset: int, size: int) -> int:
    return int.from_bytes(instance.read_config()[offset : offset + size], "little")


def test_the_offer_and_the_config_space() -> None:
    device, _backend = make(queues=4, block_size=4096)
    for bit in Feature.SIZE_MAX, Feature.SEG_MAX, Feature.BLK_SIZE, Feature.FLUSH, Feature.MQ:
        assert device.features & bit
    assert device.features & 1 << 32
    assert not device.features & (Feature.RO | Feature.GEOMETRY | Feature.SCSI | Feature.BARRIER)
    instance = device.new_instance()
    assert len(instance.read_config()) == 72
    assert field(instance, 0, 8) == 128
    assert field(instance, 8, 4) == 256 << 10
    assert field(instance, 12, 4) == 126
    assert field(instance, 20, 4) == 4096
    assert (field(instance, 24, 1), field(instance, 26, 2)) == (0, 1)
    assert field(instance, WRITEBACK_OFFSET, 1) == 1
    assert field(instance, 34, 2) == 4
    assert field(instance, 40, 4) == 64


def test_topology_of_small_blocks() -> None:
    instance = make()[0].new_instance()
    # A physical block of 4 KiB has eight of 512 bytes.
    assert (field(instance, 20, 4), field(instance, 24, 1), field(instance, 26, 2)) == (512, 3, 8)


def test_the_mask_limits_the_offer_and_empties_the_fields() -> None:
    device, _backend = make(1 << 32 | 1 << 2 | 1 << 11)
    # CONFIG_WCE without FLUSH must not be (§5.2.5.2).
    assert device.features == 1 << 32 | 1 << 2
    config = device.new_instance().read_config()
    assert config[:8] == struct.pack("<Q", 128)
    assert config[12:16] == struct.pack("<I", 126)
    assert not any(config[8:12] + config[16:])


def test_a_readonly_device() -> None:
    for mask in (0, 1 << 32):
        device, backend = make(mask, readonly=True)
        assert device.features & Feature.RO
        assert not device.features & (Feature.DISCARD | Feature.WRITE_ZEROES | Feature.SECURE_ERASE)
        instance = device.new_instance()
        assert request(instance, OUT, 0, bytes(512)) == (IOERR, b"")
        segment = struct.pack("<QII", 0, 1, 0)
        for kind in (DISCARD, WRITE_ZEROES, SECURE_ERASE):
            assert request(instance, kind, 0, segment) == (UNSUPP, b"")
        assert backend.calls == []
        assert request(instance, IN, 0, room=512) == (OK, b"\xaa" * 512)


def test_the_capacity_is_whole_blocks() -> None:
    device, _backend = make(backend=NotingBackend(10 * 4096 + 3000), block_size=4096)
    instance = device.new_instance()
    assert field(instance, 0, 8) == 80
    assert request(instance, IN, 79, room=512)[0] == OK
    assert request(instance, IN, 80, room=512)[0] == IOERR
    with pytest.raises(ConfigError, match="511 bytes are less than one block of 512"):
        make(backend=NotingBackend(511))


def test_a_size_that_changes(caplog: pytest.LogCaptureFixture) -> None:
    backend = NotingBackend(8 * 4096)
    backend.data += bytes(8 * 4096)
    device, _backend = make(backend=backend, block_size=4096)
    instances = [device.new_instance(), device.new_instance()]
    assert not device.refresh()
    for generation, (size, sectors) in enumerate(
        [(16 * 4096 + 17, 128), (9 * 4096, 72), (4095, 0), (8 * 4096, 64)], 1
    ):
        backend.size = size
        assert device.refresh()
        assert not device.refresh()
        assert device.generation == generation
        for instance in (*instances, device.new_instance()):
            assert field(instance, 0, 8) == sectors
            assert request(instance, IN, sectors, room=512)[0] == IOERR
            assert request(instance, OUT, sectors, bytes(512))[0] == IOERR
            if sectors:
                assert request(instance, IN, sectors - 1, room=512)[0] == OK
    # Less than a block more or less is none.
    backend.size += 4095
    assert not device.refresh()
    messages = [record.getMessage() for record in caplog.records]
    lines = [message for message in messages if message.endswith("resized")]
    assert lines[0] == "tvqn=a/b bytes=65536 before=32768 event=resized"
    assert len(lines) == 4


def test_what_fills_no_block_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    device, backend = make(backend=NotingBackend(1000))
    for size in (1001, 1024, 1536, 1535, 1534):
        backend.size = size
        device.refresh()
    make(backend=NotingBackend(8191), block_size=4096)
    lines = [record.getMessage() for record in caplog.records if "cut-off" in record.getMessage()]
    assert lines == [
        f'tvqn=a/b bytes={tail} event=cut-off reason="at the end of {size} bytes they fill no '
        f'block of {block} bytes, and are not served"'
        for tail, size, block in ((488, 1000, 512), (511, 1535, 512), (4095, 8191, 4096))
    ]


def test_a_driver_keeps_what_it_chose_when_the_size_changes() -> None:
    device, backend = make()
    instance = device.new_instance()
    instance.choose_features(device.features)
    assert instance.write_config(WRITEBACK_OFFSET, b"\0")
    backend.size *= 2
    assert device.refresh()
    assert field(instance, WRITEBACK_OFFSET, 1) == 0
    assert field(device.new_instance(), WRITEBACK_OFFSET, 1) == 1


def test_a_closed_device_is_not_looked_at() -> None:
    device, backend = make()
    device.close()
    backend.size *= 2
    assert not device.refresh()


FLUSH_BIT, WCE = int(Feature.FLUSH), int(Feature.CONFIG_WCE)


@pytest.mark.parametrize(
    ("features", "writeback", "persist"),
    [
        (None, None, True),
        (0, None, True),
        (FLUSH_BIT, None, False),
        (FLUSH_BIT | WCE, None, False),
        (FLUSH_BIT | WCE, 1, False),
        (FLUSH_BIT | WCE, 0, True),
        (WCE, None, True),
        (WCE, 1, False),
    ],
)
def test_the_write_cache_mode(features: int | None, writeback: int | None, persist: bool) -> None:
    """virtio 1.2 §5.2.5.2 and §5.2.6.2; a driver that chose nothing is given the safe mode."""
    device, backend = make()
    instance = device.new_instance()
    if features is not None:
        instance.choose_features(features | Feature.WRITE_ZEROES)
    if writeback is not None:
        assert instance.write_config(WRITEBACK_OFFSET, bytes([writeback]))
        assert field(instance, WRITEBACK_OFFSET, 1) == writeback
    backend.calls.clear()
    assert request(instance, OUT, 1, bytes(512)) == (OK, b"")
    assert backend.calls == [("write", 512, 512, persist)]
    assert request(instance, WRITE_ZEROES, 0, struct.pack("<QII", 2, 1, 1)) == (OK, b"")
    expected: list[tuple[object, ...]] = [("write_zeroes", 1024, 512, True)]
    assert backend.calls[1:] == expected + ([("flush",)] if persist else [])


def test_without_flush_the_config_says_write_through() -> None:
    instance = make()[0].new_instance()
    instance.choose_features(WCE)
    assert field(instance, WRITEBACK_OFFSET, 1) == 0
    instance.reset()
    assert field(instance, WRITEBACK_OFFSET, 1) == 1


def test_switching_the_cache_off_saves_what_was_in_it() -> None:
    device, backend = make()
    instance = device.new_instance()
    instance.choose_features(FLUSH_BIT | WCE)
    assert request(instance, OUT, 0, bytes(512))[0] == OK
    assert instance.write_config(WRITEBACK_OFFSET, b"\0")
    assert backend.calls == [("write", 0, 512, False), ("flush",)]
    backend.failing = EIO
    with pytest.raises(OSError, match="Input/output"):
        instance.write_config(WRITEBACK_OFFSET, b"\0")


def test_one_initiators_cache_mode_is_not_anothers() -> None:
    device, backend = make()
    one, two = device.new_instance(), device.new_instance()
    for instance in (one, two):
        instance.choose_features(FLUSH_BIT | WCE)
    one.write_config(WRITEBACK_OFFSET, b"\0")
    backend.calls.clear()
    request(one, OUT, 0, bytes(512))
    request(two, OUT, 0, bytes(512))
    assert [call[3] for call in backend.calls] == [True, False]


def test_a_write_through_backend_cannot_be_switched() -> None:
    device, backend = make(backend=NotingBackend(write_through=True))
    assert not device.features & WCE
    assert device.features & FLUSH_BIT
    instance = device.new_instance()
    instance.choose_features(device.features)
    assert field(instance, WRITEBACK_OFFSET, 1) == 0
    assert not instance.write_config(WRITEBACK_OFFSET, b"\1")
    assert backend.calls == []


@pytest.mark.parametrize(
    ("offset", "data"),
    [(0, bytes(8)), (31, b"\1"), (33, b"\1"), (32, b"\1\0"), (32, b"\2"), (32, b""), (71, b"\1")],
)
def test_nothing_else_in_the_config_space_can_be_set(offset: int, data: bytes) -> None:
    instance = make()[0].new_instance()
    before = instance.read_config()
    assert not instance.write_config(offset, data)
    assert instance.read_config() == before


def test_writeback_cannot_be_set_without_its_feature() -> None:
    instance = make()[0].new_instance()
    instance.choose_features(FLUSH_BIT)
    assert not instance.write_config(WRITEBACK_OFFSET, b"\0")


@pytest.mark.parametrize("kind", [IN, OUT, FLUSH, DISCARD, WRITE_ZEROES, SECURE_ERASE])
def test_a_failing_disk(kind: int, caplog: pytest.LogCaptureFixture) -> None:
    """The status byte says so, the data is zeros, and one line a second is logged."""
    device, backend = make()
    instance = device.new_instance()
    backend.failing = EIO
    segment = struct.pack("<QII", 0, 1, 0)
    data = {IN: b"", OUT: bytes(512), FLUSH: b""}.get(kind, segment)
    with caplog.at_level(logging.ERROR, "vof"):
        for _ in range(3):
            assert request(instance, kind, 0, data, room=512) == (IOERR, bytes(512))
    (record,) = caplog.records
    assert 'event=io-error reason="Input/output error"' in record.getMessage()
    backend.failing = 0
    assert request(instance, kind, 0, data, room=512)[0] == OK


def test_a_full_disk_is_an_io_error(caplog: pytest.LogCaptureFixture) -> None:
    device, backend = make()
    backend.failing = 28
    assert request(device.new_instance(), OUT, 0, bytes(512)) == (IOERR, b"")
    assert "No space left on device" in caplog.text


def test_a_failed_flush_after_a_write_of_zeros_is_a_failed_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class CannotFlush(NotingBackend):
        def flush(self) -> None:
            raise OSError(EIO, "no flush")

    instance = make(backend=CannotFlush())[0].new_instance()
    assert request(instance, WRITE_ZEROES, 0, struct.pack("<QII", 0, 1, 0)) == (IOERR, b"")
    assert "no flush" in caplog.text


def test_the_device_owns_its_backend() -> None:
    device, backend = make()
    device.claim()
    device.flush()
    assert backend.calls == [("claim",), ("flush",)]
    device.close()
    assert backend.closed


LIMITS = RequestLimits(16, 16, 16, 4)


def requests(backend: NotingBackend) -> BlockRequests:
    served = BlockRequests(
        "a", backend, ServedSize(backend.size), LIMITS, serial=b"id", readonly=False
    )
    served.rules = Rules(features=(1 << 17) - 1)
    return served


@given(st.binary(max_size=200), st.integers(0, 1200))
def test_any_request_is_a_violation_or_answered_in_full(readable: bytes, room: int) -> None:
    """Whatever comes: the whole area is written, or the peer has broken the rules."""
    backend = NotingBackend(1 << 16)
    area = memoryview(bytearray(b"\xcc" * room))
    try:
        used = requests(backend).handle(memoryview(readable), area)
    except RemoteProtocolError:
        assert len(readable) < 16 or not room
        assert not backend.calls
        return
    assert used == room
    assert area[-1] in (OK, IOERR, UNSUPP)
    assert len(backend.data) == 1 << 16
    if not backend.calls:
        assert b"\xcc" not in bytes(area)


@given(
    st.sampled_from([DISCARD, WRITE_ZEROES, SECURE_ERASE]),
    st.lists(
        st.tuples(st.integers(0, 140), st.integers(0, 20), st.sampled_from([0, 0, 0, 1, 2])),
        max_size=6,
    ),
)
def test_segments_are_all_good_or_none_is_executed(
    kind: int, segments: list[tuple[int, int, int]]
) -> None:
    backend = NotingBackend(1 << 16)
    data = struct.pack("<IIQ", kind, 0, 0) + b"".join(
        struct.pack("<QII", *segment) for segment in segments
    )
    status = memoryview(bytearray(1))
    requests(backend).handle(memoryview(data), status)
    known = 1 if kind == WRITE_ZEROES else 0
    if not 0 < len(segments) <= 4:
        expected = IOERR
    elif any(flags & ~known for _sector, _count, flags in segments):
        expected = UNSUPP
    elif any(count > 16 or sector + count > 128 for sector, count, _flags in segments):
        expected = IOERR
    else:
        expected = OK
    assert status[0] == expected
    done = [call[1:3] for call in backend.calls if call[0] != "flush"]
    wanted = [(sector * 512, count * 512) for sector, count, _flags in segments if count]
    assert done == (wanted if expected == OK else [])
