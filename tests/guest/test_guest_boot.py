# SPDX-License-Identifier: BSD-3-Clause
"""The guest is fit for the scenarios that follow: see `scenario_boot`, which runs inside."""

import pytest

import vof
from tests.guest.harness import Guest, run_scenario
from tests.guest.scenario_boot import FOOTPRINT, scenario

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_boot")


@pytest.mark.parametrize("step", scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


def test_kernel_is_debians(guest: Guest) -> None:
    kernel = guest.result("kernel")
    assert "-amd64" in kernel["release"]
    assert kernel["uid"] == 0


def test_host_is_left_alone(guest: Guest) -> None:
    guest.result("scratch")
    assert not FOOTPRINT.exists()


def test_nbdkit_runs_plugins_with_our_environment(guest: Guest) -> None:
    assert f"vof={vof.__file__}\n" in guest.result("plugin_environment")


@pytest.mark.parametrize(
    ("step", "size"), [("attach_small", 64 << 20), ("attach_large", 512 << 20)]
)
def test_device_has_the_size_served(guest: Guest, step: str, size: int) -> None:
    assert guest.result(step) == size


@pytest.mark.parametrize("step", ["ext4", "xfs"])
def test_file_system_gives_space_back(guest: Guest, step: str) -> None:
    assert "trimmed" in guest.result(step)
