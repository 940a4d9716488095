# SPDX-License-Identifier: BSD-3-Clause
"""The guests that more than one module of tests looks at: a boot is too expensive for each."""

import pytest

from tests.guest.harness import Guest, run_scenario


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave their time to the guests, which have a bound of their own: see `harness`."""
    for item in items:
        if item.get_closest_marker("guest"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def rdma_guest() -> Guest:
    """What all scenarios about RDMA have left."""
    return run_scenario("tests.guest.scenario_rdma", timeout=1500)


@pytest.fixture(scope="session")
def vofctl_guest() -> Guest:
    """What the story of a disk and vofctl has left."""
    return run_scenario("tests.guest.scenario_vofctl", timeout=1200)
