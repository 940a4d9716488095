# SPDX-License-Identifier: BSD-3-Clause
"""virtio-rng against virtio 1.2 §5.4."""

from __future__ import annotations

import pytest

from vof.errors import RemoteProtocolError
from vof.wire import rng


def test_one_queue_and_no_config() -> None:
    assert (rng.REQUEST_QUEUE, rng.NUM_QUEUES, rng.CONFIG_SIZE) == (0, 1, 0)


def test_a_request_is_one_writable_buffer() -> None:
    assert rng.request_size(0, [96]) == 96


@pytest.mark.parametrize(
    ("readable", "writable"), [(1, [96]), (0, []), (0, [0]), (0, [8, 8]), (8, [])]
)
def test_any_other_request_is_refused(readable: int, writable: list[int]) -> None:
    with pytest.raises(RemoteProtocolError):
        rng.request_size(readable, writable)


@pytest.mark.parametrize("written", [0, 1, 63, 64])
def test_short_and_empty_answers_are_legal(written: int) -> None:
    assert rng.answer_size(64, written) == written


@pytest.mark.parametrize("written", [65, 1 << 32, -1])
def test_an_answer_beyond_its_room_is_refused(written: int) -> None:
    with pytest.raises(RemoteProtocolError, match="64 were asked for"):
        rng.answer_size(64, written)
