# SPDX-License-Identifier: BSD-3-Clause
"""Bytes at any offset over whole blocks: against a model, and with neighbours at work."""

from __future__ import annotations

import errno
import itertools
import random
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.gateways.memory_driver import MemoryDriver, MemoryRequest
from vof.errors import ConfigError, DeviceError, LocalProtocolError, VofError, WrongDevice
from vof.gateways.disk import Disk, EngineGate, WriteGate, disks_only
from vof.wire.blk import Feature

BLOCKS = 12


def read(disk: Disk, offset: int, length: int) -> bytes:
    data = bytearray(b"\xdb" * length)
    disk.read(offset, memoryview(data))
    return bytes(data)


operations = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "zero", "trim"]),
        st.integers(0, 4096 * BLOCKS),
        st.integers(0, 4096 * BLOCKS),
        st.integers(1, 255),
    ),
    max_size=12,
)


@given(
    block_size=st.sampled_from([512, 1024, 4096]),
    per_transfer=st.integers(1, 4),
    depth=st.integers(1, 3),
    operations=operations,
    aligned=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_is_like_plain_memory(
    block_size: int,
    per_transfer: int,
    depth: int,
    operations: list[tuple[str, int, int, int]],
    aligned: bool,
) -> None:
    driver = MemoryDriver(
        BLOCKS, block_size=block_size, max_transfer=per_transfer * block_size, depth=depth
    )
    disk = driver.disk
    driver.content[:] = model = bytearray(random.Random(block_size).randbytes(disk.size))
    for kind, start, size, fill in operations:
        offset = start % (disk.size + 1)
        length = size % (disk.size - offset + 1)
        if aligned:
            offset -= offset % block_size
            length -= length % block_size
        place = slice(offset, offset + length)
        if kind == "read":
            assert read(disk, offset, length) == model[place]
        elif kind == "write":
            disk.write(offset, memoryview(bytes([fill]) * length))
            model[place] = bytes([fill]) * length
        elif kind == "zero":
            disk.write_zeroes(offset, length, unmap=bool(fill % 2))
            model[place] = bytes(length)
        else:
            disk.discard(offset, length)
        assert driver.content == model
        assert driver.in_flight == 0


class TestBounds:
    @pytest.fixture
    def disk(self) -> Disk:
        return MemoryDriver(4).disk

    @pytest.mark.parametrize(("offset", "length"), [(2048, 1), (0, 2049), (2047, 2), (-1, 1)])
    def test_beyond_the_end(self, disk: Disk, offset: int, length: int) -> None:
        data = memoryview(bytearray(length))
        calls: list[tuple[Callable[[], None], int]] = [
            (lambda: disk.read(offset, data), errno.EINVAL),
            (lambda: disk.write(offset, data), errno.ENOSPC),
            (lambda: disk.write_zeroes(offset, length, unmap=False), errno.ENOSPC),
            (lambda: disk.discard(offset, length), errno.EINVAL),
        ]
        for call, number in calls:
            with pytest.raises(LocalProtocolError) as caught:
                call()
            assert caught.value.errno == number
        assert disk.driver.calls == []  # type: ignore[attr-defined]

    @pytest.mark.parametrize("offset", [0, 512, 2048])
    def test_nothing_at_all(self, disk: Disk, offset: int) -> None:
        read(disk, offset, 0)
        disk.write(offset, memoryview(b""))
        disk.write_zeroes(offset, 0, unmap=True)
        disk.discard(offset, 0)
        assert disk.driver.calls == []  # type: ignore[attr-defined]

    def test_a_capacity_that_ends_within_a_block_is_cut(self) -> None:
        disk = MemoryDriver(3, block_size=4096, spare_sectors=7).disk
        assert disk.size == 3 * 4096
        with pytest.raises(LocalProtocolError):
            read(disk, 3 * 4096, 1)

    def test_an_empty_disk(self) -> None:
        disk = MemoryDriver(0).disk
        assert disk.size == 0
        with pytest.raises(LocalProtocolError):
            read(disk, 0, 1)


class TestRequests:
    """Which requests reach the driver."""

    def test_aligned_data_goes_as_it_is_divided_at_the_limit(self) -> None:
        driver = MemoryDriver(8, max_transfer=1024)
        driver.disk.write(512, memoryview(bytes(2560)))
        assert driver.calls == [("write", 512, 1024), ("write", 1536, 1024), ("write", 2560, 512)]

    def test_aligned_data_is_not_copied(self) -> None:
        driver = MemoryDriver(8, max_transfer=1024)
        seen: list[MemoryRequest] = []
        driver.before = seen.append
        data = bytearray(2048)
        driver.disk.read(0, memoryview(data))
        assert [request.data.obj is data for request in seen] == [True, True]

    def test_several_are_in_flight_together(self) -> None:
        driver = MemoryDriver(8, max_transfer=512, depth=3)
        depths: list[int] = []
        driver.before = lambda _request: depths.append(driver.in_flight)
        driver.disk.write(0, memoryview(bytes(6 * 512)))
        assert depths == [3, 3, 3, 3, 2, 1]

    @pytest.mark.parametrize(
        ("offset", "length", "reads"),
        [
            (100, 50, [(0, 512)]),
            (100, 412, [(0, 512)]),
            (0, 100, [(0, 512)]),
            (100, 512, [(0, 512), (512, 512)]),
            (100, 1436, [(0, 512)]),
            (512, 600, [(1024, 512)]),
            (100, 2000, [(0, 512), (2048, 512)]),
        ],
    )
    def test_only_blocks_that_are_not_whole_are_read_first(
        self, offset: int, length: int, reads: list[tuple[int, int]]
    ) -> None:
        driver = MemoryDriver(8)
        driver.disk.write(offset, memoryview(bytes(length)))
        assert [call[1:] for call in driver.calls if call[0] == "read"] == reads

    def test_zeroes_are_written_as_data_at_unaligned_ends_only(self) -> None:
        driver = MemoryDriver(8)
        driver.disk.write_zeroes(100, 2300, unmap=True)
        assert [call for call in driver.calls if call[0] != "read"] == [
            ("write", 0, 512),
            ("zero", 512, 1536),
            ("write", 2048, 512),
        ]
        assert driver.unmapped == [True]

    def test_zeroes_and_discards_are_divided_at_their_limits(self) -> None:
        driver = MemoryDriver(8)
        driver.disk.write_zeroes(0, 4096, unmap=False)
        driver.disk.discard(100, 3996)
        assert driver.calls == [
            ("zero", 0, 1536),
            ("zero", 1536, 1536),
            ("zero", 3072, 1024),
            ("discard", 512, 1536),
            ("discard", 2048, 1536),
            ("discard", 3584, 512),
        ]
        assert not any(driver.unmapped)

    def test_a_discard_within_a_block_is_none(self) -> None:
        driver = MemoryDriver(8)
        driver.disk.discard(100, 800)
        assert driver.calls == []

    def test_flush(self) -> None:
        driver = MemoryDriver(8)
        driver.disk.flush()
        driver.features &= ~Feature.FLUSH
        driver.disk.flush()
        assert driver.calls == [("flush", 0, 0)]


@pytest.mark.parametrize("bad", [0, 512, 2048, 3584])
def test_an_error_is_raised_when_nothing_is_in_flight_any_more(bad: int) -> None:
    """Until then the caller's buffer is lent out."""
    driver = MemoryDriver(8, max_transfer=512, depth=4)
    driver.failing = {bad, 3072}
    for call in (
        lambda: driver.disk.write(0, memoryview(bytes(4096))),
        lambda: read(driver.disk, 0, 4096),
        lambda: driver.disk.write(1, memoryview(bytes(4094))),
    ):
        with pytest.raises(DeviceError, match="made to fail"):
            call()
        assert driver.in_flight == 0


class TestNeighbours:
    """A read-modify-write must not put back bytes that somebody else has just replaced."""

    def test_a_whole_block_write_waits_for_a_read_modify_write(self) -> None:
        driver = MemoryDriver(4)
        disk = driver.disk
        other: list[Background[None]] = []

        def meanwhile(request: MemoryRequest) -> None:
            if request.writes or other:
                return
            other.append(Background(disk.write, 0, memoryview(b"n" * 512)))
            wait_until(
                lambda: bool(waiting_at(disk._gate)) or not other[0].running, "the neighbour"
            )

        driver.before = meanwhile
        disk.write(256, memoryview(b"m" * 256))
        other[0].result()
        assert driver.content[:512] == b"n" * 512

    def test_a_read_modify_write_waits_for_whole_block_writes(self) -> None:
        driver = MemoryDriver(4)
        disk = driver.disk
        go_on = threading.Event()
        started = threading.Event()

        def hold(request: MemoryRequest) -> None:
            if request.writes and len(request.data) == 1024:
                started.set()
                assert go_on.wait(10)

        driver.before = hold
        whole = Background(disk.write, 0, memoryview(b"w" * 1024))
        assert started.wait(10)
        part = Background(disk.write, 100, memoryview(b"p" * 10))
        wait_until(lambda: bool(waiting_at(disk._gate)) or not part.running, "the other one")
        assert [call[0] for call in driver.calls] == ["write"]
        go_on.set()
        whole.result()
        part.result()
        assert driver.content[:1024] == b"w" * 100 + b"p" * 10 + b"w" * 914

    def test_every_byte_is_kept_by_many_unaligned_writers_and_their_neighbours(self) -> None:
        """Each thread owns scattered ranges, several to a block, and rewrites them many times."""
        driver = MemoryDriver(16, block_size=512, depth=8)
        disk = driver.disk
        rng = random.Random("neighbours")
        cuts = sorted({0, disk.size, 2048, 2560, 6144, *rng.sample(range(disk.size), 45)})
        ranges = list(itertools.pairwise(cuts))
        rng.shuffle(ranges)
        threads = 6

        def work(number: int) -> None:
            own = random.Random(number)
            mine = ranges[number::threads]
            for turn in range(12):
                for start, end in own.sample(mine, len(mine)):
                    disk.write(start, memoryview(bytes([turn + 1]) * (end - start)))
                    assert read(disk, start, end - start) == bytes([turn + 1]) * (end - start)

        workers = [Background(work, number) for number in range(threads)]
        for worker in workers:
            worker.result()
        assert driver.content == bytes([12]) * disk.size


def waiting_at(gate: WriteGate | EngineGate) -> object:
    assert isinstance(gate, WriteGate)
    return gate._changed._waiters  # type: ignore[attr-defined]


class TestWriteGate:
    def test_many_pass_side_by_side(self) -> None:
        gate = WriteGate()
        with gate.shared, gate.shared:
            Background(gate.shared.__enter__).result()

    def test_one_that_is_alone_keeps_out_all_others(self) -> None:
        gate = WriteGate()
        order: list[str] = []

        def take(name: str) -> None:
            with gate.alone if name == "alone" else gate.shared:
                order.append(name)

        with gate.alone:
            threads = [Background(take, name) for name in ("alone", "shared", "shared")]
            wait_until(lambda: len(gate._changed._waiters) == 3, "three that wait")  # type: ignore[attr-defined]
            assert not order
        for thread in threads:
            thread.result()
        assert sorted(order) == ["alone", "shared", "shared"]

    def test_one_that_waits_to_be_alone_is_not_overtaken_for_ever(self) -> None:
        gate = WriteGate()
        order: list[str] = []

        def take(name: str) -> None:
            with gate.alone if name == "alone" else gate.shared:
                order.append(name)

        with gate.shared:
            alone = Background(take, "alone")
            wait_until(lambda: bool(waiting_at(gate)), "one that waits")
            late = Background(take, "late")
            wait_until(lambda: len(gate._changed._waiters) == 2, "two that wait")  # type: ignore[attr-defined]
            assert not order
        alone.result()
        late.result()
        assert order == ["alone", "late"]

    def test_an_error_inside_opens_it_again(self) -> None:
        gate = WriteGate()
        for way in (gate.alone, gate.shared):
            with pytest.raises(ZeroDivisionError), way:
                raise ZeroDivisionError
        with gate.alone:
            pass


def test_a_device_that_is_no_disk() -> None:
    with pytest.raises(WrongDevice) as raised, disks_only():
        raise WrongDevice("'t' is a virtio-rng, not a virtio-blk")
    assert str(raised.value) == (
        "'t' is a virtio-rng, not a virtio-blk: NBD takes disks only; vof-mount shows an rng or "
        "crypto device as files"
    )


@pytest.mark.parametrize("error", [ConfigError("x"), VofError("x"), KeyboardInterrupt()])
def test_all_else_is_left_alone(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, disks_only():
        raise error
    assert raised.value is error
