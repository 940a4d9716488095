# SPDX-License-Identifier: BSD-3-Clause
"""The bytes of every control command, by hand and as the recorded initiator sent them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import Background, receive_exactly, tcp_pair
from tests.support.protocol_numbers import CONNECT
from tests.support.scripted_target import completion
from tests.vectors.recordings import I2T, load
from vof.errors import CompletionError
from vof.fabric.tcp.queue import TcpQueue
from vof.initiator.control import ControlQueue
from vof.wire.connect import Names
from vof.wire.constants import DeviceStatus
from vof.wire.dialect import PROPOSAL, V5, Dialect

Call = Callable[[ControlQueue], object]

RECORDED_IVQN = "vqn.uuid:11111111-2222-3333-4444-555555555555"
BLOCK0 = "virtio-target/block/block0.service"
NAMES = Names("me", "it")
RECORDED = Names(RECORDED_IVQN, BLOCK0)


class Exchange:
    """A control queue whose commands are answered one by one."""

    def __init__(self, dialect: Dialect = PROPOSAL) -> None:
        near, self.far = tcp_pair()
        self.fabric = TcpQueue(
            near,
            "control",
            lambda _queue, _error, _lost: None,
            10.0,
            framing=dialect.framing,
        )
        self.control = ControlQueue(self.fabric, dialect)

    def close(self) -> None:
        self.fabric.close()
        self.far.close()

    def run(self, call: Call, value: int = 0, *, status: int = 0, size: int = 16) -> object:
        """Return what ``call`` returns for an answer with ``value``; keep its bytes in ``sent``."""
        return self.exchange(call, completion(status, 0, 0, value)[4:], status=status, size=size)

    def exchange(self, call: Call, rest: bytes, *, status: int = 0, size: int = 16) -> object:
        """The same for a completion with ``rest`` behind status and id."""
        waiter = Background(call, self.control)
        self.sent = receive_exactly(self.far, size)
        self.far.sendall(struct.pack("<H", status) + self.sent[2:4] + rest)
        return waiter.result()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    exchange = Exchange()
    yield exchange
    exchange.close()


ONES = 0xFFFF_FFFF_FFFF_FFFF

COMMANDS: list[tuple[str, Call, str, int, object]] = [
    # name, call, its bytes, the answer's value, what is returned of it
    ("get_vendor_id", ControlQueue.get_vendor_id, "0010" + "00" * 14, ONES, 0xFFFFFFFF),
    ("get_device_id", ControlQueue.get_device_id, "0110" + "00" * 14, ONES, 0xFFFFFFFF),
    ("get_generation", ControlQueue.get_generation, "0210" + "00" * 14, ONES, 0xFFFFFFFF),
    ("get_status", ControlQueue.get_status, "0310" + "00" * 14, ONES, 0xFF),
    (
        "set_status",
        lambda control: control.set_status(DeviceStatus.ACKNOWLEDGE | DeviceStatus.FEATURES_OK),
        "0410" + "0000" + "09" + "00" * 11,
        ONES,
        None,
    ),
    ("get_device_feature", ControlQueue.get_device_feature, "0510" + "00" * 14, ONES, ONES),
    (
        "set_driver_feature",
        lambda control: control.set_driver_feature(0x1_0000_1006),
        "0610" + "00" * 6 + "0610000001000000",
        ONES,
        None,
    ),
    ("get_num_queues", ControlQueue.get_num_queues, "0710" + "00" * 14, ONES, 0xFFFF),
    (
        "get_queue_size",
        lambda control: control.get_queue_size(0x0103),
        "0810" + "0000" + "0301" + "00" * 10,
        ONES,
        0xFFFF,
    ),
    (
        "get_config of 8",
        lambda control: control.get_config(0, 8),
        "0a10" + "0000" + "0000" + "08" + "00" * 9,
        ONES,
        ONES,
    ),
    (
        "get_config of 1",
        lambda control: control.get_config(32, 1),
        "0a10" + "0000" + "2000" + "01" + "00" * 9,
        ONES,
        0xFF,
    ),
    (
        "set_config",
        lambda control: control.set_config(0x20, 2, 0xBEEF),
        "0b10" + "0000" + "2000" + "02" + "00" + "efbe" + "00" * 6,
        ONES,
        None,
    ),
    ("get_config_changed", ControlQueue.get_config_changed, "0c10" + "00" * 14, ONES, 0xFFFFFFFF),
    ("disconnect", ControlQueue.disconnect, "0100" + "00" * 14, ONES, None),
    ("keepalive", ControlQueue.keepalive, "0200" + "00" * 14, ONES, None),
    ("get_max_segs", ControlQueue.get_max_segs, "0300" + "00" * 14, ONES, 0xFFFFFFFF),
]


@pytest.mark.clause("v2:33-41", "initiator")
@pytest.mark.clause("v2:188-195", "initiator")
@pytest.mark.parametrize(
    ("call", "sent", "value", "returned"),
    [entry[1:] for entry in COMMANDS],
    ids=[entry[0] for entry in COMMANDS],
)
def test_bytes_and_answer(
    exchange: Exchange, call: Call, sent: str, value: int, returned: object
) -> None:
    assert exchange.run(call, value) == returned
    assert exchange.sent.hex() == sent


def test_connect(exchange: Exchange) -> None:
    target_id = exchange.run(
        lambda control: control.connect(NAMES), 0xABCD_0102, size=16 + 24 + 1024
    )
    assert target_id == 0x0102
    command, descriptor, body = exchange.sent[:16], exchange.sent[16:40], exchange.sent[40:]
    assert command.hex() == "0000" + "0000" + "ffff" + "0000" + "0100" + "00" + "00" * 5
    assert descriptor.hex() == "00" * 8 + "00040000" + "00" * 12
    assert body == b"me".ljust(256, b"\0") + b"it".ljust(256, b"\0") + bytes(512)


def test_connect_of_a_virtqueue(exchange: Exchange) -> None:
    exchange.run(lambda control: control.connect_virtqueue(0x0304, 2, NAMES), size=1064)
    assert exchange.sent[:16].hex() == "0000" + "0000" + "0403" + "0200" + "0100" + "00" * 6


def test_as_the_recorded_initiator_sent_them(exchange: Exchange) -> None:
    """The Linux initiator's attach, command by command, byte for byte (kernel-tcp-blk-basic)."""
    recording = load("kernel-tcp-blk-basic")
    stream = recording.stream(0, I2T)
    calls: list[Call] = [
        lambda control: control.connect(RECORDED),
        ControlQueue.get_num_queues,
        ControlQueue.get_vendor_id,
        ControlQueue.get_device_id,
        lambda control: control.reset_device(),
        ControlQueue.get_status,
        lambda control: control.set_status(DeviceStatus(1)),
        ControlQueue.get_status,
        lambda control: control.set_status(DeviceStatus(3)),
        ControlQueue.get_device_feature,
        lambda control: control.set_driver_feature(0x1006),
        lambda control: control.get_config(12, 4),
        lambda control: control.get_config(34, 2),
        lambda control: control.get_queue_size(0),
        lambda control: control.get_queue_size(1),
        lambda control: control.get_queue_size(2),
        lambda control: control.get_queue_size(3),
        lambda control: control.get_config(8, 4),
        ControlQueue.get_generation,
        lambda control: control.get_config(0, 8),
        ControlQueue.get_generation,
        ControlQueue.get_status,
        lambda control: control.set_status(DeviceStatus(7)),
        ControlQueue.get_status,
    ]
    for call in calls:
        size = 16 if stream[:2] != CONNECT.to_bytes(2, "little") else 1064
        expected, stream = stream[:size], stream[size:]
        exchange.run(call, size=size)
        assert exchange.sent == expected
    assert stream == b""
    first_queue = recording.stream(1, I2T)[:1064]
    exchange.run(lambda control: control.connect_virtqueue(0, 0, RECORDED), size=1064)
    assert exchange.sent == first_queue


@pytest.mark.parametrize(
    ("status", "text", "errno"),
    [
        (19, "the target refused get_status with status 19: ENODEV (No such device)", 19),
        (4096, "the target refused get_status with status 4096: some other error", 5),
        (65535, "the target refused get_status with status 65535: no errno", 5),
    ],
)
def test_refusal(exchange: Exchange, status: int, text: str, errno: int) -> None:
    with pytest.raises(CompletionError) as caught:
        exchange.run(ControlQueue.get_status, status=status)
    assert str(caught.value) == text
    assert caught.value.status == status
    assert caught.value.errno == errno
    assert exchange.run(ControlQueue.get_device_id, 2) == 2  # the queue lives on


def test_the_transport_feature_has_a_name_in_messages(exchange: Exchange) -> None:
    with pytest.raises(CompletionError, match="refused get_feature with status 22"):
        exchange.run(ControlQueue.get_max_segs, status=22)


def test_one_command_at_a_time(exchange: Exchange) -> None:
    """Some targets answer everything with command id 0: a second command has to wait."""
    first = Background(exchange.control.get_vendor_id)
    receive_exactly(exchange.far, 16)
    second = Background(exchange.control.get_device_id)
    exchange.far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        exchange.far.recv(1)
    exchange.far.settimeout(None)
    exchange.far.sendall(completion(0, 0, 0, 1))
    assert first.result() == 1
    assert receive_exactly(exchange.far, 2).hex() == "0110"
    exchange.far.sendall(completion(0, 0, 0, 2))
    assert second.result() == 2


class TestV5:
    """Other records: each value has a place of its own in its completion."""

    @pytest.fixture
    def exchange(self) -> Iterator[Exchange]:
        exchange = Exchange(V5)
        yield exchange
        exchange.close()

    COMPLETION = bytes.fromhex("04030201") + bytes.fromhex("8877665544332211")
    """What follows status and id."""

    @pytest.mark.parametrize(
        ("call", "sent", "returned"),
        [
            (ControlQueue.get_vendor_id, "0010" + "00" * 14, 0x01020304),
            (ControlQueue.get_device_id, "0110" + "00" * 14, 0x01020304),
            (ControlQueue.get_status, "0410" + "00" * 14, 0x04),
            (ControlQueue.reset_device, "0310" + "00" * 14, None),
            (
                lambda control: control.set_status(DeviceStatus.FEATURES_OK),
                "0510" + "0000" + "08" + "00" * 11,
                None,
            ),
            (ControlQueue.get_device_feature, "0610" + "00" * 14, 0x1122334455667788),
            (
                lambda control: control.set_driver_feature(0x1_0000_1006),
                "0910" + "00" * 6 + "0610000001000000",
                None,
            ),
            (
                lambda control: control.get_queue_size(0x0103),
                "0a10" + "0000" + "0301" + "00" * 10,
                0x0304,
            ),
            (
                lambda control: control.get_config_with_generation(32, 2),
                "0c10" + "0000" + "2000" + "02" + "00" * 9,
                (0x7788, 0x01020304),
            ),
            (
                lambda control: control.set_config(0x20, 2, 0xBEEF),
                "0d10" + "0000" + "2000" + "02" + "00" + "efbe" + "00" * 6,
                None,
            ),
            (ControlQueue.get_transport_features, "0400" + "00" * 14, 0x1122334455667788),
            (
                lambda control: control.set_transport_features(3),
                "0500" + "00" * 6 + "03" + "00" * 7,
                None,
            ),
            (ControlQueue.get_keyed_num_descs, "0001" + "00" * 14, 0x04),
            (ControlQueue.keepalive, "0200" + "00" * 14, None),
            (ControlQueue.disconnect, "0100" + "00" * 14, None),
        ],
    )
    def test_bytes_and_answer(
        self, exchange: Exchange, call: Call, sent: str, returned: object
    ) -> None:
        assert exchange.exchange(call, self.COMPLETION) == returned
        assert exchange.sent.hex() == sent

    def test_connect(self, exchange: Exchange) -> None:
        body = b"me".ljust(256, b"\0") + b"it".ljust(256, b"\0") + bytes(512)
        call: Call = lambda control: control.connect(NAMES)  # noqa: E731
        assert exchange.exchange(call, self.COMPLETION, size=1040) == 0x0304
        assert exchange.sent == bytes.fromhex("00000000ffff0000" + "00040000" + "00000000") + body

    def test_connect_of_a_virtqueue_needs_no_body(self, exchange: Exchange) -> None:
        exchange.exchange(lambda c: c.connect_virtqueue(0x0304, 2, NAMES, 64), self.COMPLETION)
        assert exchange.sent.hex() == "00000000" + "0403" + "0200" + "00000000" + "4000" + "0000"

    def test_refusal(self, exchange: Exchange) -> None:
        with pytest.raises(CompletionError) as caught:
            exchange.run(ControlQueue.get_status, status=0x2010)
        assert str(caught.value) == (
            "the target refused get_status with status 0x2010: device status not supported"
        )
        assert (caught.value.status, caught.value.errno) == (0x2010, 22)
