# SPDX-License-Identifier: BSD-3-Clause
"""What the block driver sends for each request, and what it makes of the answer."""

from __future__ import annotations

import errno
import random
import re
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import Background
from tests.support.protocol_numbers import (
    DISCARD,
    EVERYTHING,
    F_CONFIG_WCE,
    F_DISCARD,
    F_FLUSH,
    F_LIFETIME,
    F_SECURE_ERASE,
    F_SEG_MAX,
    F_SIZE_MAX,
    F_VERSION_1,
    F_WRITE_ZEROES,
    GET_ID,
    GET_LIFETIME,
    IN,
    OUT,
    SECURE_ERASE,
    SET_CONFIG,
    VENDOR_VTGT,
    VRING,
    WRITE_ZEROES,
)
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    ScriptedTarget,
    completion,
    on,
    vring_completion,
)
from tests.support.target_fixtures import Serve
from tests.unit.drivers.opening import descriptors, device, header, open_driver
from vof.counts import add_counts
from vof.drivers.block import BlockDriver
from vof.errors import (
    CompletionError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionLost,
)
from vof.wire.blk import Lifetime

KI = 1024


def read(driver: BlockDriver, offset: int, length: int) -> bytes:
    data = bytearray(length)
    request = driver.start_read(offset, memoryview(data))
    assert request is not None
    driver.finish(request)
    return bytes(data)


def write(driver: BlockDriver, offset: int, data: bytes) -> None:
    request = driver.start_write(offset, data)
    assert request is not None
    driver.finish(request)


@pytest.fixture
def target(serve: Serve) -> ScriptedTarget:
    return serve(device())


@pytest.fixture
def driver(target: ScriptedTarget) -> Iterator[BlockDriver]:
    driver = open_driver(target)
    yield driver
    driver.close()


class TestSent:
    """The bytes of each request type."""

    def test_read(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        target.device.disk[1024:2048] = random.Random(1).randbytes(1024)
        assert read(driver, 1024, 1024) == target.device.disk[1024:2048]
        [command] = target.commands
        assert command.raw.hex() == (
            "0020" "0000" "10000000" "0300" "000000000000"
            "0000000000000000" "10000000" "0000" "0100" "0000000000000000"
            "0000000000000000" "00040000" "0100" "0300" "0000000000000000"
            "0004000000000000" "01000000" "0200" "0200" "0000000000000000"
            "00000000" "00000000" "0200000000000000"
        )  # fmt: skip

    def test_write(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        data = random.Random(2).randbytes(512)
        write(driver, 512 * 0x123, data)
        assert target.device.disk[512 * 0x123 : 512 * 0x124] == data
        [command] = target.commands
        assert command.raw.hex() == (
            "0020" "0000" "10020000" "0300" "000000000000"
            "0000000000000000" "10000000" "0000" "0100" "0000000000000000"
            "1000000000000000" "00020000" "0100" "0100" "0000000000000000"
            "0000000000000000" "01000000" "0200" "0200" "0000000000000000"
            "01000000" "00000000" "2301000000000000"
        ) + data.hex()  # fmt: skip

    def test_flush(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        driver.flush()
        [command] = target.commands
        assert command.raw.hex() == (
            "0020" "0000" "10000000" "0200" "000000000000"
            "0000000000000000" "10000000" "0000" "0100" "0000000000000000"
            "0000000000000000" "01000000" "0100" "0200" "0000000000000000"
            "04000000" "00000000" "0000000000000000"
        )  # fmt: skip

    def test_get_id(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        assert driver.get_id() == "scripted-0123456789x"
        [command] = target.commands
        assert descriptors(command) == [("r", 16), ("w", 20), ("w", 1)]
        assert command.payload == header(GET_ID)

    @pytest.mark.parametrize(
        ("serial", "text"),
        [(b"short", "short"), (b"", ""), (b"caf\xe9", "caf\\xe9"), ("ж".encode() * 10, "ж" * 10)],
    )
    def test_get_id_of(self, serve: Serve, serial: bytes, text: str) -> None:
        target = serve(device(about={"serial": serial}))
        driver = open_driver(target)
        assert driver.get_id() == text
        driver.close()

    def test_get_lifetime(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        assert driver.get_lifetime() == Lifetime(1, 2, 3)
        [command] = target.commands
        assert descriptors(command) == [("r", 16), ("w", 6), ("w", 1)]
        assert command.payload == header(GET_LIFETIME)

    def test_discard(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        driver.discard(4096, 8192)
        [command] = target.commands
        assert descriptors(command) == [("r", 16), ("r", 16), ("w", 1)]
        assert command.payload == header(DISCARD) + struct.pack("<QII", 8, 16, 0)

    @pytest.mark.parametrize("unmap", [False, True])
    def test_write_zeroes(self, target: ScriptedTarget, driver: BlockDriver, unmap: bool) -> None:
        target.device.disk[:4096] = b"\xff" * 4096
        driver.write_zeroes(512, 1024, unmap=unmap)
        [command] = target.commands
        assert descriptors(command) == [("r", 16), ("r", 16), ("w", 1)]
        assert command.payload == header(WRITE_ZEROES) + struct.pack("<QII", 1, 2, unmap)
        assert target.device.disk[:4096] == b"\xff" * 512 + bytes(1024) + b"\xff" * 2560

    def test_write_zeroes_never_unmaps_where_the_device_cannot(self, serve: Serve) -> None:
        target = serve(device(write_zeroes=(512, 1, 0)))
        driver = open_driver(target)
        driver.write_zeroes(512, 1024, unmap=True)
        [command] = target.commands
        assert command.payload[16:] == struct.pack("<QII", 1, 2, 0)
        driver.close()

    def test_secure_erase(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        driver.secure_erase(0, 4096)
        [command] = target.commands
        assert command.payload == header(SECURE_ERASE) + struct.pack("<QII", 0, 8, 0)

    @pytest.mark.parametrize("writeback", [False, True])
    def test_set_writeback(
        self, target: ScriptedTarget, driver: BlockDriver, writeback: bool
    ) -> None:
        driver.set_writeback(writeback)
        [command] = target.commands
        assert command.opcode == SET_CONFIG
        assert command.raw[4:] == struct.pack("<HBxQ", 32, 1, writeback)
        assert target.device.config[32] == writeback


class TestSegments:
    """Data is divided so that no descriptor and no number of them exceeds what is allowed."""

    def test_at_size_max(self, serve: Serve) -> None:
        target = serve(device(size_max=4096, seg_max=30))
        driver = open_driver(target)
        data = random.Random(3).randbytes(4096 * 2 + 512)
        write(driver, 0, data)
        assert read(driver, 0, len(data)) == data
        sent, received = target.requests()
        parts = [4096, 4096, 512]
        assert descriptors(sent) == [("r", 16), *[("r", part) for part in parts], ("w", 1)]
        assert descriptors(received) == [("r", 16), *[("w", part) for part in parts], ("w", 1)]
        driver.close()

    def test_of_a_size_max_that_is_no_multiple_of_a_sector(self, serve: Serve) -> None:
        target = serve(device(size_max=1000, seg_max=3))
        driver = open_driver(target)
        assert driver.geometry.max_transfer == 2560
        data = random.Random(4).randbytes(2560)
        write(driver, 512, data)
        assert read(driver, 512, 2560) == data
        assert descriptors(target.requests()[1])[1:-1] == [("w", 1000), ("w", 1000), ("w", 560)]
        driver.close()

    @pytest.mark.parametrize(
        ("about", "config", "segments"),
        [
            ({}, {"seg_max": 5}, 5),
            ({"max_segs": 9}, {"seg_max": 126}, 7),
            ({"queue_size": 8}, {"seg_max": 126}, 6),
            ({"max_segs": 3}, {"seg_max": 126}, 1),
            ({"features": F_SIZE_MAX | F_VERSION_1}, {}, 1),
        ],
        ids=["seg_max", "max_segs", "queue size", "least max_segs", "no seg_max"],
    )
    def test_at_most_as_many_as_allowed_by(
        self, serve: Serve, about: dict[str, int], config: dict[str, int], segments: int
    ) -> None:
        target = serve(device(about=about, size_max=512, **config))
        driver = open_driver(target)
        assert driver.geometry.max_transfer == 512 * segments
        assert len(read(driver, 0, 512 * segments)) == 512 * segments
        [command] = target.requests()
        assert len(command.descriptors) == segments + 2
        driver.close()

    def test_a_device_without_limits_gets_one_segment_of_at_most_32_mib(self, serve: Serve) -> None:
        target = serve(device(F_SEG_MAX | F_VERSION_1, seg_max=126))
        driver = open_driver(target)
        assert driver.geometry.max_transfer == 32 << 20
        read(driver, 0, 512)
        driver.close()

    def test_whole_blocks_only(self, serve: Serve) -> None:
        target = serve(device(size_max=6144, seg_max=3, blk_size=4096))
        driver = open_driver(target)
        assert driver.geometry.max_transfer == 16384
        driver.close()


REQUESTS: dict[str, tuple[int, Callable[[BlockDriver], object]]] = {
    "FLUSH": (F_FLUSH, BlockDriver.flush),
    "DISCARD": (F_DISCARD, lambda driver: driver.discard(0, 512)),
    "WRITE_ZEROES": (F_WRITE_ZEROES, lambda driver: driver.write_zeroes(0, 512)),
    "SECURE_ERASE": (F_SECURE_ERASE, lambda driver: driver.secure_erase(0, 512)),
    "LIFETIME": (F_LIFETIME, BlockDriver.get_lifetime),
    "CONFIG_WCE": (F_CONFIG_WCE, lambda driver: driver.set_writeback(False)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_is_sent_that_was_not_offered(serve: Serve, name: str) -> None:
    feature, call = REQUESTS[name]
    target = serve(device(EVERYTHING & ~feature))
    driver = open_driver(target)
    with pytest.raises(LocalProtocolError, match=f"device of .* does not offer {name}"):
        call(driver)
    assert target.commands == []
    driver.close()
    other = serve(device(feature | F_VERSION_1))
    driver = open_driver(other)
    call(driver)
    assert len(other.commands) == 1
    driver.close()


def all_requests() -> dict[str, Callable[[BlockDriver], object]]:
    calls: dict[str, Callable[[BlockDriver], object]] = {
        name.lower(): call for name, (_feature, call) in REQUESTS.items() if name != "CONFIG_WCE"
    }
    calls["get_lifetime"] = calls.pop("lifetime")
    calls["in"] = lambda driver: read(driver, 0, 1024)
    calls["out"] = lambda driver: write(driver, 0, bytes(1024))
    calls["get_id"] = BlockDriver.get_id
    return calls


class TestStatus:
    """The status byte of the device, request type by request type."""

    @pytest.mark.parametrize("name", all_requests())
    @pytest.mark.parametrize(
        ("status", "text", "number"),
        [
            (1, "the device failed {} with an I/O error", errno.EIO),
            (2, "the device does not support {}", errno.ENOTSUP),
            (0x42, "the device ended {} with unknown status 66", errno.EIO),
            (0xFF, "the device ended {} without writing a status", errno.EIO),
        ],
    )
    def test_error(
        self, target: ScriptedTarget, driver: BlockDriver,
        name: str, status: int, text: str, number: int,
    ) -> None:  # fmt: skip
        def fail(command: Command) -> None:
            sizes = [each.length for each in command.writable[:-1]]
            command.complete(*map(bytes, sizes), bytes([status]))

        target.hooks.append(on(VRING, fail))
        expected = text.format(f"VIRTIO_BLK_T_{name.upper()}")
        with pytest.raises(DeviceError, match=f"^{re.escape(expected)}$") as caught:
            all_requests()[name](driver)
        assert (caught.value.status, caught.value.errno) == (status, number)
        target.hooks.clear()
        all_requests()[name](driver)  # only that request has failed
        counts = add_counts(queue.fabric.counts() for queue in driver.session.virtqueues)
        count = counts[f"VIRTIO_BLK_T_{name.upper()}"]
        assert (count.requests, count.failed, count.lost) == (2, 1, 0)

    def test_an_error_may_come_with_less_data(
        self, target: ScriptedTarget, driver: BlockDriver
    ) -> None:
        def fail(command: Command) -> None:
            command.complete(b"xy", b"\1")

        target.hooks.append(on(VRING, fail))
        with pytest.raises(DeviceError):
            read(driver, 0, 1024)
        assert driver.session.error is None

    def test_success_with_less_data_is_a_violation(
        self, target: ScriptedTarget, driver: BlockDriver
    ) -> None:
        def shorten(command: Command) -> None:
            command.complete(bytes(1023), b"\0")

        target.hooks.append(on(VRING, shorten))
        with pytest.raises(
            RemoteProtocolError, match="VIRTIO_BLK_T_IN succeeded with 1023 of 1024 bytes"
        ):
            read(driver, 0, 1024)
        with pytest.raises(RemoteProtocolError, match="1023 of 1024"):
            driver.flush()

    @pytest.mark.parametrize(
        ("used", "words"),
        [(0, "completed without a status byte"), (1, "succeeded with 0 of 1024 bytes")],
    )
    def test_what_comes_back_unwritten_counts_for_nothing(
        self, target: ScriptedTarget, driver: BlockDriver, used: int, words: str
    ) -> None:
        def overstate(command: Command) -> None:
            answer = vring_completion(command, [bytes(1024), b"\0"], used)
            command.connection.send(answer)

        target.hooks.append(on(VRING, overstate))
        with pytest.raises(RemoteProtocolError, match=f"VIRTIO_BLK_T_IN {words}"):
            read(driver, 0, 1024)

    def test_no_status_byte_is_a_violation(
        self, target: ScriptedTarget, driver: BlockDriver
    ) -> None:
        def withhold(command: Command) -> None:
            command.complete(bytes(1024), b"")

        target.hooks.append(on(VRING, withhold))
        with pytest.raises(
            RemoteProtocolError, match="VIRTIO_BLK_T_IN completed without a status byte"
        ):
            read(driver, 0, 1024)
        assert isinstance(driver.session.error, RemoteProtocolError)

    def test_a_refused_command(self, target: ScriptedTarget, driver: BlockDriver) -> None:
        def refuse(command: Command) -> None:
            command.reply(status=22)

        target.hooks.append(on(VRING, refuse))
        with pytest.raises(CompletionError, match="refused VIRTIO_BLK_T_IN with status 22: EINVAL"):
            read(driver, 0, 1024)
        target.hooks.clear()
        read(driver, 0, 1024)

    def test_a_refusal_that_returns_its_descriptors(
        self, target: ScriptedTarget, driver: BlockDriver
    ) -> None:
        def refuse(command: Command) -> None:
            table = b"".join(
                struct.pack("<QIHHI4x", 0, 0, each.id, each.flags, 0) for each in command.writable
            )
            command.connection.send(completion(5, command.command_id, 2) + table)

        target.hooks.append(on(VRING, refuse))
        with pytest.raises(CompletionError, match="status 5: EIO"):
            read(driver, 0, 1024)
        assert driver.session.error is None


class TestReferenceTarget:
    """Quirks of the reference target, known by its vendor id."""

    @pytest.fixture
    def target(self, serve: Serve) -> ScriptedTarget:
        def hang_up(command: Command) -> bool:
            # get and set feature, keepalive, and what ends the whole program: disconnect, flush
            fatal = command.opcode in (1, 2, 3, 4)
            fatal = fatal or (
                command.opcode == VRING and command.request[0] not in (IN, OUT, GET_ID)
            )
            if fatal:
                command.connection.close()
            return fatal

        about = {"vendor_id": VENDOR_VTGT}
        return serve(device(0x1006, about=about, size_max=1 << 20, seg_max=126), hang_up)

    def test_nothing_is_sent_that_it_cannot_bear(self, target: ScriptedTarget) -> None:
        driver = open_driver(target, 4)
        write(driver, 0, b"x" * 512)
        assert read(driver, 0, 512) == b"x" * 512
        assert driver.get_id() == "scripted-0123456789x"
        for call in (driver.flush, driver.get_lifetime):
            with pytest.raises(LocalProtocolError):
                call()
        driver.close()
        assert {command.opcode for command in target.commands} == {VRING}

    def test_a_refusal_with_buffers(self, target: ScriptedTarget) -> None:
        def refuse(command: Command) -> bool:
            if command.opcode != VRING:
                return False
            answers = target.execute(command)
            table = b"".join(
                struct.pack("<QIHHI4x", 0, len(answer), each.id, each.flags, 0)
                for each, answer in zip(command.writable, answers, strict=True)
            )
            refusal = completion(22, command.command_id) + table + b"".join(answers)
            command.connection.send(refusal)
            return True

        driver = open_driver(target)
        target.hooks.append(refuse)
        with pytest.raises(CompletionError, match="status 22"):
            read(driver, 0, 1024)
        target.hooks.pop()
        assert read(driver, 0, 512) == bytes(512)
        driver.close()

    def test_the_longest_request_has_128_descriptors(self, target: ScriptedTarget) -> None:
        target.device.config = device(size_max=512, seg_max=126).config
        driver = open_driver(target)
        assert driver.geometry.max_transfer == 126 * 512
        read(driver, 0, 126 * 512)
        [command] = target.requests()
        assert len(command.descriptors) == 128
        driver.close()


class TestSeveralInFlight:
    def test_completions_in_any_order(self, serve: Serve) -> None:
        hold = Hold()
        target = serve(device(), hold)
        driver = open_driver(target)
        target.device.disk[:] = random.Random(5).randbytes(len(target.device.disk))
        buffers = [bytearray(512) for _ in range(8)]
        requests = [
            driver.start_read(512 * place, memoryview(buffer))
            for place, buffer in enumerate(buffers)
        ]
        for command in reversed(hold.take(8)):
            command.perform()
        for request in requests:
            assert request is not None
            driver.finish(request)
        assert b"".join(buffers) == target.device.disk[: 8 * 512]
        driver.close()

    def test_a_full_virtqueue_takes_no_more_without_waiting(self, serve: Serve) -> None:
        hold = Hold()
        target = serve(device(about={"queue_size": 8}), hold)
        driver = open_driver(target)
        data = memoryview(bytearray(512))
        requests = [driver.start_read(0, data, wait=False) for _ in range(3)]
        assert requests[2] is None
        for command in hold.take(2):
            command.perform()
        for request in requests[:2]:
            assert request is not None
            driver.finish(request)
        driver.close()

    def test_each_thread_keeps_to_a_virtqueue_of_its_own(self, serve: Serve) -> None:
        target = serve(device())
        driver = open_driver(target, 3)

        def work() -> None:
            for _ in range(4):
                read(driver, 0, 512)

        for _ in range(6):
            Background(work).result()
        queues = [command.connection.queue for command in target.requests()]
        assert queues == [queue for queue in (0, 1, 2, 0, 1, 2) for _ in range(4)]
        driver.close()

    def test_the_end_of_one_ends_all(self, serve: Serve) -> None:
        hold = Hold()
        target = serve(device(), hold)
        driver = open_driver(target, 2)
        readers = [Background(read, driver, 0, 512) for _ in range(4)]
        held = hold.take(4)
        held[0].connection.close()
        for reader in readers:
            with pytest.raises(SessionLost):
                reader.result(5)
        with pytest.raises(SessionLost):
            driver.flush()
        driver.close()


def test_the_request_timeout_is_for_requests(serve: Serve) -> None:
    hold = Hold()
    target = serve(Device(), hold)
    driver = open_driver(target, timeout=0.2)
    with pytest.raises(SessionLost, match=r"no answer to VIRTIO_BLK_T_IN within 0\.2 s"):
        read(driver, 0, 512)
    driver.close()
