# SPDX-License-Identifier: BSD-3-Clause
"""The guest that more than one module of tests looks at: a boot is too expensive for each."""

import pytest

from tests.guest.harness import Guest, run_scenario


@pytest.fixture(scope="session")
def rdma_guest() -> Guest:
    """What all scenarios about RDMA have left."""
    return run_scenario("tests.guest.scenario_rdma", timeout=1500)
