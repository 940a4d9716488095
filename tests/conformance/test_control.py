# SPDX-License-Identifier: BSD-3-Clause
"""Every control command and event of every device type: the initiator and the real target."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.conftest import Served
from tests.conformance.disks import read, write
from tests.support.loopback import Background
from tests.support.scripted_target import PATIENCE, wait_until
from vof.drivers.block import BlockDriver
from vof.drivers.rng import RngDriver
from vof.errors import CompletionError, SessionLost
from vof.initiator.control import ControlQueue
from vof.initiator.session import Session
from vof.wire.blk import WRITEBACK_OFFSET
from vof.wire.constants import VENDOR_VOF, Command, CommonFeature, DeviceStatus
from vof.wire.dialect import PROPOSAL, V5, dialect_by_name
from vof.wire.status import Reason

DISK, RNG, CRYPTO = TVQNS = "conformance/disk", "conformance/rng", "conformance/crypto"

SIZE = 4 << 20
QUEUES = {DISK: 2, RNG: 1, CRYPTO: 3}
DEVICE_IDS = {DISK: 2, RNG: 4, CRYPTO: 20}
CONFIG_SIZES = {DISK: 72, RNG: 0, CRYPTO: 56}
"""virtio 1.2 §5.2.4, with what came after it, §5.4.4 and §5.9.5."""

WIDTHS = (1, 2, 4, 8)


def devices(folder: Path) -> str:
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, SIZE)
    return f"""
[disk]
tvqn = {DISK}
model = block
backend = driver=block-posix,path={image},queues={QUEUES[DISK]}

[rng]
tvqn = {RNG}
model = rng
backend = driver=rng-simulator

[crypto]
tvqn = {CRYPTO}
model = crypto
backend = driver=crypto-openssl,queues={QUEUES[CRYPTO] - 1}
"""


each_device = pytest.mark.parametrize("tvqn", TVQNS)
each_device_one_over_rdma = pytest.mark.parametrize(
    "tvqn", [pytest.param(DISK, marks=pytest.mark.rdma), RNG, CRYPTO]
)
"""What a command does there is the same for all of them."""


def is_refused(served: Served, call: Callable[[], object], reason: Reason) -> bool:
    with pytest.raises(CompletionError) as caught:
        call()
    return caught.value.status == served.way.spoken.status_of(reason)


def attach(served: Served, tvqn: str, queues: int = 1) -> Session:
    session = served.session(tvqn)
    session.negotiate((1 << 64) - 1)
    session.open_virtqueues(queues)
    session.driver_ok()
    return session


def next_id(served: Served, tvqn: str) -> int | None:
    """Return the target id that a new association gets."""
    session = served.session(tvqn)
    session.close()
    return session.target_id


def on_virtqueue(session: Session) -> ControlQueue:
    """Return the control commands over the connection of a virtqueue."""
    dialect = dialect_by_name(session.dialect)
    assert dialect is not None
    return ControlQueue(session.virtqueues[0].fabric, dialect)


def whole_config(control: ControlQueue, size: int) -> bytes:
    return bytes(control.get_config(offset, 1) for offset in range(size))


class TestProperties:
    @each_device
    def test_what_a_device_is(self, served: Served, tvqn: str) -> None:
        session = served.session(tvqn)
        assert session.control.get_vendor_id() == session.vendor_id == VENDOR_VOF
        assert session.control.get_device_id() == session.device_id == DEVICE_IDS[tvqn]
        assert session.queue_sizes.count() == QUEUES[tvqn]

    @each_device
    def test_queue_sizes(self, served: Served, tvqn: str) -> None:
        """Where they can be set before a Connect: any power of two up to what is offered, until the
        queue is connected."""
        session = served.session(tvqn)
        control = session.control
        last = QUEUES[tvqn] - 1
        offered = control.get_queue_size(last)
        assert offered > 1
        assert not offered & offered - 1
        none = Reason.NO_SUCH_QUEUE
        assert is_refused(served, lambda: control.get_queue_size(last + 1), none)
        if not served.way.spoken.has(Command.SET_QUEUE_SIZE):
            return
        for size in (1, offered // 2, offered):
            control.set_queue_size(last, size)
            assert control.get_queue_size(last) == size
        for size in (0, 3, 2 * offered, 0xFFFF):
            call = partial(control.set_queue_size, last, size)
            assert is_refused(served, call, Reason.QUEUE_SIZE)
        assert control.get_queue_size(last) == offered
        assert is_refused(served, lambda: control.set_queue_size(last + 1, 1), none)
        session.negotiate((1 << 64) - 1)
        session.open_virtqueues(1)
        busy = Reason.QUEUE_IN_USE
        assert is_refused(served, lambda: control.set_queue_size(0, 1), busy)

    @each_device
    def test_no_more_queues_than_there_are(self, served: Served, tvqn: str) -> None:
        session = attach(served, tvqn, QUEUES[tvqn])
        assert {queue.size for queue in session.virtqueues} == {
            session.control.get_queue_size(index) for index in range(QUEUES[tvqn])
        }
        beyond = partial(session.control.get_queue_size, QUEUES[tvqn])
        assert is_refused(served, beyond, Reason.NO_SUCH_QUEUE)

    @each_device
    def test_features(self, served: Served, tvqn: str) -> None:
        """Those that were not offered are not agreed on, and the driver sees it: by FEATURES_OK,
        in v5 at once."""
        control = served.session(tvqn).control
        offered = control.get_device_feature()
        assert offered & CommonFeature.VERSION_1
        assert not offered & (CommonFeature.RING_INDIRECT_DESC | CommonFeature.RING_EVENT_IDX)
        asked = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER
        for features, agreed in (
            (offered | CommonFeature.RING_INDIRECT_DESC, False),
            (offered, True),
        ):
            control.reset_device()
            control.set_status(asked)
            call = partial(control.set_driver_feature, features)
            if not agreed and served.way.dialect == V5.name:
                assert is_refused(served, call, Reason.DEVICE_FEATURE)
                continue
            call()
            control.set_status(asked | DeviceStatus.FEATURES_OK)
            assert bool(control.get_status() & DeviceStatus.FEATURES_OK) is agreed
        # What is agreed on stays so until the next reset.
        over = partial(control.set_driver_feature, 0)
        assert is_refused(served, over, Reason.DEVICE_FEATURE)

    @each_device_one_over_rdma
    def test_transport_features(self, served: Served, tvqn: str) -> None:
        control = served.session(tvqn).control
        if served.way.spoken.has_max_segs:
            assert control.get_max_segs() >= {DISK: 128, RNG: 1, CRYPTO: 128}[tvqn]
            return
        offered = control.get_transport_features()
        assert offered == served.way.offers
        for unknown in (1 << 2, 1 << 63, offered + 1):
            call = partial(control.set_transport_features, unknown)
            assert is_refused(served, call, Reason.TRANSPORT_FEATURE)
        control.set_transport_features(offered)
        control.set_transport_features(0)


class TestConfig:
    @each_device_one_over_rdma
    @pytest.mark.rdma_once
    def test_any_width_at_any_offset(self, served: Served, tvqn: str) -> None:
        control = served.session(tvqn).control
        size = CONFIG_SIZES[tvqn]
        config = whole_config(control, size)
        for width in WIDTHS:
            for offset in served.way.some(range(size + 1)):
                if offset + width > size:
                    call = partial(control.get_config, offset, width)
                    assert is_refused(served, call, Reason.CONFIG_EXTENT)
                else:
                    expected = config[offset : offset + width]
                    found = control.get_config(offset, width)
                    assert found.to_bytes(width, "little") == expected
            far = partial(control.get_config, 0xFFFF, width)
            assert is_refused(served, far, Reason.CONFIG_EXTENT)

    @each_device
    def test_what_a_driver_may_not_write(self, served: Served, tvqn: str) -> None:
        control = served.session(tvqn).control
        size = CONFIG_SIZES[tvqn]
        config = whole_config(control, size)
        for width in WIDTHS:
            for offset in (0, 1, size - width, size, 0xFFFF):
                if offset >= 0:
                    call = partial(control.set_config, offset, width, 1)
                    assert is_refused(served, call, Reason.CONFIG_EXTENT)
        assert whole_config(control, size) == config

    @each_device
    def test_over_the_connection_of_a_virtqueue(self, served: Served, tvqn: str) -> None:
        session = attach(served, tvqn)
        control = on_virtqueue(session)
        if served.way.dialect == V5.name:
            assert is_refused(served, control.get_device_id, Reason.UNKNOWN_COMMAND)
            return
        size = CONFIG_SIZES[tvqn]
        assert whole_config(control, size) == whole_config(session.control, size)
        assert control.get_device_id() == DEVICE_IDS[tvqn]
        assert control.get_status() == session.control.get_status()


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_a_config_field_that_a_driver_may_write(served: Served) -> None:
    session = attach(served, DISK)
    other = attach(served, DISK)
    for writeback in (0, 1):
        session.control.set_config(WRITEBACK_OFFSET, 1, writeback)
        assert session.control.get_config(WRITEBACK_OFFSET, 1) == writeback
        # Its other initiators have their own.
        assert other.control.get_config(WRITEBACK_OFFSET, 1) == 1
    for width, value in ((1, 2), (2, 1), (4, 1), (8, 1)):
        call = partial(session.control.set_config, WRITEBACK_OFFSET, width, value)
        assert is_refused(served, call, Reason.CONFIG_EXTENT)


class Told:
    """The sizes that a driver was told of."""

    def __init__(self, driver: BlockDriver) -> None:
        self._changed = threading.Condition()
        self._sizes: list[int] = []
        driver.on_resize = self._add

    def _add(self, _before: int, now: int) -> None:
        with self._changed:
            self._sizes.append(now)
            self._changed.notify_all()

    def wait_for(self, size: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._sizes[-1:] == [size], PATIENCE)


def generation(control: ControlQueue) -> int:
    if control.tells_generation:
        found = control.get_config_with_generation(0, 1)[1]
        assert found is not None
        return found
    return control.get_generation()


@pytest.mark.rdma
def test_a_config_that_changes(served: Served) -> None:
    """The backend's file grows and shrinks: an event where the dialect has any, and what an
    initiator sees that asks."""
    driver, witness = served.block(DISK), served.block(DISK)
    control = driver.session.control
    told, also = Told(driver), Told(witness)
    asks = served.way.dialect == PROPOSAL.name
    before = generation(control)
    assert not asks or control.get_config_changed() == 0
    for size in (2 * SIZE, SIZE // 2):
        os.truncate(served.folder / "disk.img", size)
        if asks:
            wait_until(lambda: bool(control.get_config_changed()), "the change")
            for each in (driver, witness):
                each.reread_config()
        told.wait_for(size)
        also.wait_for(size)
        assert not asks or control.get_config_changed() == 0
        assert driver.size == size
        assert generation(control) > before
        before = generation(control)
        write(driver, size - 512, b"end".ljust(512))
        assert read(witness, size - 512, 512) == b"end".ljust(512)


@each_device
def test_keepalive(served: Served, tvqn: str) -> None:
    session = attach(served, tvqn)
    for _ in range(3):
        session.control.keepalive()
        if served.way.dialect != V5.name:  # there it belongs on the control queue
            on_virtqueue(session).keepalive()
    assert session.control.get_status() & DeviceStatus.DRIVER_OK


class TestEnd:
    @each_device_one_over_rdma
    @pytest.mark.rdma_once
    def test_disconnect(self, served: Served, tvqn: str) -> None:
        """It ends the association alone, and soon its target id is free."""
        session = attach(served, tvqn)
        ident = session.target_id
        other = served.session(tvqn)
        assert other.target_id != ident
        session.close()
        with pytest.raises(SessionLost):
            session.control.keepalive()
        other.control.keepalive()
        wait_until(lambda: next_id(served, tvqn) == ident, "the end of the association")

    @each_device
    def test_disconnect_as_a_command(self, served: Served, tvqn: str) -> None:
        session = attach(served, tvqn)
        session.control.disconnect()
        with pytest.raises(SessionLost):
            session.control.keepalive()
        assert session.is_lost()

    @each_device_one_over_rdma
    @pytest.mark.rdma_once
    def test_reset(self, served: Served, tvqn: str) -> None:
        """The device forgets what was agreed on; its queues stay connected (ours)."""
        session = attach(served, tvqn)
        control = session.control
        last = QUEUES[tvqn] - 1
        offered = control.get_queue_size(last)
        if last and served.way.spoken.has(Command.SET_QUEUE_SIZE):
            control.set_queue_size(last, 1)
        control.reset_device()
        assert control.get_status() == 0
        assert control.get_queue_size(last) == offered
        # It can be initialised again, and whoever wants other features may have them.
        status = DeviceStatus(0)
        for step in (DeviceStatus.ACKNOWLEDGE, DeviceStatus.DRIVER):
            status |= step
            control.set_status(status)
        control.set_driver_feature(CommonFeature.VERSION_1)
        for step in (DeviceStatus.FEATURES_OK, DeviceStatus.DRIVER_OK):
            status |= step
            control.set_status(status)
        assert control.get_status() == status
        assert not session.is_lost()

    @each_device
    def test_connect_again_and_again(self, served: Served, tvqn: str) -> None:
        for _ in range(served.way.rounds(10)):
            attach(served, tvqn, QUEUES[tvqn]).close()
        wait_until(lambda: next_id(served, tvqn) == 0, "the end of all of them")


@pytest.mark.one_dialect
@pytest.mark.rdma
def test_auto_is_the_latest(served: Served) -> None:
    session = served.open(Session.open, DISK, dialect="auto")
    assert session.dialect == V5.name
    assert session.control.get_device_id() == DEVICE_IDS[DISK]


@pytest.mark.rdma
def test_a_reset_under_requests(served: Served) -> None:
    """Those in flight are answered, and the queue serves on. Not through eager buffers, which a
    reset takes away."""
    changes = {"eager": False} if served.way.eager else {}
    driver = served.open(lambda parameters: BlockDriver.open(parameters, 1), DISK, **changes)
    write(driver, 0, b"x" * 65536)
    data = [memoryview(bytearray(65536)) for _ in range(8)]
    requests = [driver.start_read(0, each) for each in data]
    control = driver.session.control
    control.reset_device()
    for request, each in zip(requests, data, strict=True):
        assert request is not None
        driver.finish(request)
        assert each == b"x" * 65536
    for status in (1, 3):
        control.set_status(DeviceStatus(status))
    control.set_driver_feature(driver.features | CommonFeature.VERSION_1)
    for status in (0xB, 0xF):
        control.set_status(DeviceStatus(status))
    assert read(driver, 0, 4096) == b"x" * 4096


@pytest.mark.parametrize("size", [4, pytest.param(8, marks=pytest.mark.rdma)])
@pytest.mark.rdma_once
def test_a_small_queue(served: Served, size: int) -> None:
    """More threads than it has room for: whoever finds none waits."""
    driver = served.open(lambda parameters: BlockDriver.open(parameters, 1), DISK, queue_size=size)
    assert [queue.size for queue in driver.session.virtqueues] == [size]

    def work(number: int) -> None:
        for each in range(served.way.rounds(20)):
            data = bytes([number, each]) * 2048
            write(driver, number * 4096, data)
            assert read(driver, number * 4096, 4096) == data

    for worker in [Background(work, number) for number in range(8)]:
        worker.result()


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_as_many_requests_as_a_queue_holds(served: Served) -> None:
    """Each in flight has an id of its own, and the answers find their way in any order."""
    driver = served.open(RngDriver.open, RNG)
    queue = driver.session.virtqueues[0]
    buffers = [memoryview(bytearray(26)) for _ in range(queue.size)]
    pending = [queue.submit("read", [], [], [each]) for each in buffers]
    assert queue.submit("read", [], [], [memoryview(bytearray(1))], wait=False) is None
    idents = {each.command_id for each in pending if each}
    assert idents == set(range(queue.size))
    for each in reversed(pending):
        assert each is not None
        assert queue.wait(each).lengths == [26]
    assert {bytes(each) for each in buffers} == {b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
