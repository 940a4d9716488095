# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors that somebody else opens: eventfds stand for the channels here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from tests.support.loopback import PATIENCE
from vof.rdma.descriptors import close_with_descriptor, with_descriptor

KIND = "eventfd"


class Channel:
    """Opens and closes a descriptor of its own and does not tell which."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0)

    def close(self) -> None:
        os.close(self._fd)

    def is_at(self, fd: int) -> bool:
        return fd == self._fd


def test_the_one_that_is_new() -> None:
    other = os.eventfd(0)
    channel, fd = with_descriptor(Channel, KIND)
    assert channel.is_at(fd)
    assert fd != other
    assert not os.get_blocking(fd)
    close_with_descriptor(channel)
    os.close(other)


def test_one_that_is_closed_meanwhile() -> None:
    """Its number would be taken for no new one, or its end for none."""
    first, _fd = with_descriptor(Channel, KIND)
    closing = threading.Thread(target=close_with_descriptor, args=(first,))

    def make() -> Channel:
        closing.start()
        return Channel()

    second, fd = with_descriptor(make, KIND)
    closing.join(PATIENCE)
    assert second.is_at(fd)
    close_with_descriptor(second)


def test_a_child_made_while_another_thread_looks() -> None:
    looking, forked = threading.Event(), threading.Event()

    def make() -> Channel:
        looking.set()
        forked.wait(0.2)  # the fork waits for us, not we for it
        return Channel()

    found: list[tuple[Channel, int]] = []
    thread = threading.Thread(target=lambda: found.append(with_descriptor(make, KIND)))
    thread.start()
    assert looking.wait(PATIENCE)
    child = os.fork()
    if not child:
        _exit_with(lambda: close_with_descriptor(with_descriptor(Channel, KIND)[0]))
    forked.set()
    _pid, status = os.waitpid(child, 0)
    assert status == 0
    thread.join(PATIENCE)
    close_with_descriptor(found[0][0])


def _exit_with(work: Callable[[], None]) -> None:
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
