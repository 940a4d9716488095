# SPDX-License-Identifier: BSD-3-Clause
"""`make demo` in a kernel with nbd: see `scenario_demo`."""

import pytest

from tests.guest.harness import Guest, run_scenario

pytestmark = [pytest.mark.guest, pytest.mark.soak]


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_demo", timeout=300)


def test_it_uses_the_kernels_nbd(guest: Guest) -> None:
    output = guest.result("demo")["output"]
    assert "attached as /dev/nbd0" in output
    assert f"All {guest.result('prepare')} files" in output


def test_it_leaves_nothing_behind(guest: Guest) -> None:
    found = guest.result("demo")
    assert found["processes"] == []
    assert found["mounts"] == 0
    assert found["files"] == []
    assert not found["attached"]
