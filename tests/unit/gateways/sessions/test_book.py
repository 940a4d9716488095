# SPDX-License-Identifier: BSD-3-Clause
"""The book of a gateway's sessions: nothing that was counted is forgotten."""

from __future__ import annotations

from tests.support.scripted_target import Device
from tests.support.target_fixtures import Serve
from vof.drivers.block import BlockDriver
from vof.gateways.sessions.book import SessionBook
from vof.initiator.parameters import SessionParameters


def opened(serve: Serve) -> BlockDriver:
    target = serve(Device())
    parameters = SessionParameters(tvqn=target.device.tvqn, tport=target.port)
    return BlockDriver.open(parameters, queues=1)


def read(driver: BlockDriver) -> None:
    data = memoryview(bytearray(512))
    request = driver.start_read(0, data)
    assert request is not None
    driver.finish(request)


def test_counts_outlive_sessions_and_add_up(serve: Serve) -> None:
    book = SessionBook()
    first, second = opened(serve), opened(serve)
    tvqn = first.session.tvqn
    for driver in (first, second):
        book.enter(driver.session)
        read(driver)
    assert book.sessions() == {tvqn: 2}
    queue = book.queues()[tvqn, "0"]
    assert (queue.open, queue.in_flight) == (2, 0)
    assert queue.counts["VIRTIO_BLK_T_IN"].requests == 2
    sent = queue.traffic.bytes_sent
    first.close()
    book.leave(first.session)
    book.leave(first.session)  # twice is no more
    read(second)
    queue = book.queues()[tvqn, "0"]
    assert queue.open == 1
    assert queue.counts["VIRTIO_BLK_T_IN"].requests == 3
    assert queue.counts["VIRTIO_BLK_T_IN"].data_bytes == 3 * 512
    assert queue.traffic.bytes_sent > sent
    second.close()
    book.leave(second.session)
    assert book.sessions() == {}
    for _again in range(2):
        queue = book.queues()[tvqn, "0"]
        assert (queue.open, queue.size) == (0, 0)
        assert queue.counts["VIRTIO_BLK_T_IN"].requests == 3
        assert set(book.queues()) == {(tvqn, "0"), (tvqn, "control")}


def test_a_lost_session_is_none_that_lives(serve: Serve) -> None:
    book = SessionBook()
    driver = opened(serve)
    book.enter(driver.session)
    driver.close()
    assert book.sessions() == {driver.session.tvqn: 0}
    assert book.queues()[driver.session.tvqn, "0"].open == 0
    book.leave(driver.session)
