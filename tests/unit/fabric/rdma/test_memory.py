# SPDX-License-Identifier: BSD-3-Clause
"""Registered memory in pools: who gets it, who waits, and what is never done twice."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from vof.errors import ConnectError, SessionLost
from vof.fabric.rdma.memory import Extent, Pool

KIB = 1024


class FakeRegistration:
    def __init__(self, key: int) -> None:
        self.lkey = key
        self.rkey = key + 1
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class FakeDevice:
    """Registers as often as ``allowed`` says."""

    def __init__(self, allowed: int = 1000) -> None:
        self.allowed = allowed
        self.registrations: list[FakeRegistration] = []
        self.sizes: list[int] = []

    def register(self, addr: int, size: int) -> FakeRegistration:
        if len(self.registrations) >= self.allowed:
            raise ConnectError("no more memory may be locked")
        assert addr
        self.sizes.append(size)
        self.registrations.append(FakeRegistration(10 * len(self.registrations)))
        return self.registrations[-1]


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def pool(device: FakeDevice) -> Iterator[Pool]:
    pool = Pool(device.register, 64 * KIB, 128 * KIB)
    yield pool
    pool.close()


def take(pool: Pool, length: int) -> Extent:
    extent = pool.take(length, wait=False)
    assert extent is not None
    return extent


STEPS = st.lists(st.one_of(st.integers(1, 64 * KIB), st.integers(-100, -1)), max_size=40)


@given(STEPS)
def test_extents_have_their_bytes_to_themselves(steps: list[int]) -> None:
    pool = Pool(FakeDevice().register, 64 * KIB, 256 * KIB)
    taken: list[tuple[Extent, int]] = []
    for place, step in enumerate(steps):
        if step > 0:
            extent = pool.take(step, wait=False)
            if extent is not None:
                assert len(extent.view) == step
                extent.view[:] = bytes([place]) * step
                taken.append((extent, place))
        elif taken:
            extent, mark = taken.pop(step % len(taken))
            assert extent.view == bytes([mark]) * len(extent.view)
            pool.give_back(extent)
        assert pool.registered <= 256 * KIB
    for extent, mark in taken:
        assert extent.view == bytes([mark]) * len(extent.view)
        pool.give_back(extent)
    assert pool.taken == 0


def test_the_address_is_that_of_the_bytes(pool: Pool) -> None:
    take(pool, 100)
    extent = take(pool, 10)
    extent.view[:] = b"0123456789"
    assert ctypes.string_at(extent.addr, 10) == b"0123456789"
    assert (extent.slab.lkey, extent.slab.rkey) == (0, 1)


def test_memory_is_registered_on_demand_and_kept(pool: Pool, device: FakeDevice) -> None:
    assert device.sizes == [64 * KIB]
    for _ in range(3):
        one, two = take(pool, 64 * KIB), take(pool, 64 * KIB)
        assert {one.slab.rkey, two.slab.rkey} == {1, 11}
        pool.give_back(one)
        pool.give_back(two)
    assert device.sizes == [64 * KIB] * 2


def test_no_more_is_registered_than_the_limit(pool: Pool, device: FakeDevice) -> None:
    for _ in range(2):
        take(pool, 40 * KIB)
    assert pool.take(40 * KIB, wait=False) is None
    assert pool.take(24 * KIB, wait=False) is not None
    assert len(device.sizes) == 2


def test_memory_that_the_system_does_not_grant_is_not_asked_for_again() -> None:
    device = FakeDevice(allowed=1)
    pool = Pool(device.register, 64 * KIB, 1 << 30)
    extent = take(pool, 64 * KIB)
    device.allowed = 2
    assert pool.take(1, wait=False) is not None
    pool = Pool(FakeDevice(allowed=1).register, 64 * KIB, 1 << 30)
    extent = take(pool, 64 * KIB)
    assert pool.take(1, wait=False) is None
    waiter = Background(pool.take, 1, wait=True)
    wait_until(lambda: pool.waiting == 1, "one that waits")
    pool.give_back(extent)
    assert waiter.result() is not None


def test_the_first_refusal_is_the_users_to_hear() -> None:
    with pytest.raises(ConnectError, match="no more memory"):
        Pool(FakeDevice(allowed=0).register)


def test_those_who_wait_are_served_in_order(pool: Pool) -> None:
    """A large request waits for a whole slab; small ones that come later must not pass it by."""
    taken = [take(pool, 32 * KIB) for _ in range(4)]
    large = Background(pool.take, 64 * KIB, wait=True)
    wait_until(lambda: pool.waiting == 1, "one that waits")
    pool.give_back(taken[0])
    assert pool.take(KIB, wait=False) is None
    small = Background(pool.take, 32 * KIB, wait=True)
    wait_until(lambda: pool.waiting == 2, "two that wait")
    assert large.running
    pool.give_back(taken[1])
    first = large.result()
    assert first is not None
    pool.give_back(first)
    assert small.result() is not None


def test_closing_takes_every_key_back_once(pool: Pool, device: FakeDevice) -> None:
    one, two = take(pool, 64 * KIB), take(pool, 64 * KIB)
    waiter = Background(pool.take, 1, wait=True)
    wait_until(lambda: pool.waiting == 1, "one that waits")
    pool.close()
    pool.close()
    assert [item.closed for item in device.registrations] == [1, 1]
    with pytest.raises(SessionLost, match="gone"):
        waiter.result()
    pool.give_back(one)
    pool.give_back(two)
    for wait in (False, True):
        with pytest.raises(SessionLost, match="gone"):
            pool.take(1, wait=wait)
