# SPDX-License-Identifier: BSD-3-Clause
"""What follows from a disk's settings: the kernel's timeouts, what nbdkit is told."""

from __future__ import annotations

import pytest

from vof.errors import ConfigError
from vof.gateways.attach.plan import Plan
from vof.gateways.settings import effective
from vof.gateways.settings.keys import DEFAULT_TIMEOUT
from vof.gateways.settings.merged import load

TVQN = "virtio-target/block/disk0.service"


def plan(name: str | None = None, **options: str) -> Plan:
    values = effective.device(load(), TVQN, options, {"timeout": DEFAULT_TIMEOUT})
    return Plan.of(values, name)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    found = plan()
    assert (found.name, found.default_name, found.index) == (None, "disk0", None)
    assert found.connections == 4
    assert found.plugin == {"tvqn": TVQN, "timeout": "30", "ivqn": found.parameters.ivqn}
    assert {each["key"]: each["origin"] for each in found.settings}["timeout"] == "built in"


@pytest.mark.parametrize("timeout", ["0.5", "30", "86400"])
def test_the_kernel_repeats_only_what_was_given_up(timeout: str) -> None:
    found = plan(timeout=timeout)
    assert found.kernel_timeout > 2 * float(timeout)
    assert found.dead_timeout >= found.kernel_timeout


def test_without_a_timeout_there_is_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more, Linux takes 0 for 30 seconds."""
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    found = plan(timeout="0")
    assert (found.connections, found.kernel_timeout) == (1, 0)
    assert found.dead_timeout > 0
    assert plan(timeout="0", connections="1").connections == 1
    with pytest.raises(ConfigError, match="connections=2 with timeout=0"):
        plan(timeout="0", connections="2")


def test_what_is_given() -> None:
    found = plan("x", device="/dev/nbd7", readonly="yes", filter="off", queues="3", taddr="::1")
    assert (found.name, found.index, found.read_only, found.fast_path) == ("x", 7, True, "off")
    assert found.plugin["queues"] == "3"
    assert found.plugin["taddr"] == "::1"
    assert "device" not in found.plugin
