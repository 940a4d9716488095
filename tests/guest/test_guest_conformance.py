# SPDX-License-Identifier: BSD-3-Clause
"""What the conformance suite asks of every transport, over RDMA: see `scenario_conformance`."""

import pytest

from tests.guest import scenario_conformance as inside
from tests.guest.harness import Guest
from tests.guest.suite import Suite

pytestmark = pytest.mark.guest

WAYS = ("rdma-proposal", "rdma-v2", "rdma-v5-eager", "rdma-v5-keyed")


@pytest.fixture(scope="module")
def suite(rdma_guest: Guest) -> Suite:
    return Suite.of(rdma_guest, "conformance", inside.SUITE)


@pytest.mark.parametrize("path", inside.FILES)
def test_file_passes(suite: Suite, path: str) -> None:
    suite.judge(path)


def test_every_way_is_gone(suite: Suite) -> None:
    """In all of them as often; in the latest dialect besides by what runs in one alone."""
    tests = {way: {test for test in suite.tests if f"[{way}" in test} for way in WAYS}
    assert sum(map(len, tests.values())) == len(suite.tests)
    latest = len(tests.pop("rdma-v5-eager"))
    (others,) = {len(found) for found in tests.values()}
    assert 10 < others < latest


def test_receiver_is_always_ready(rdma_guest: Guest) -> None:
    assert rdma_guest.result("conformance") == {"not_ready": 0}
