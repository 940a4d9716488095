# SPDX-License-Identifier: BSD-3-Clause
"""Who runs on which CPUs."""

from __future__ import annotations

import pytest

from tests.bench.pinning import Cpus, Policy, cpu_sets


@pytest.mark.parametrize(
    ("usable", "cpus"),
    [
        ({0, 1}, Cpus("0", "1")),
        ({7, 2, 5, 3}, Cpus("2,3", "5,7")),
        ({0, 1, 2}, Cpus("0", "1,2")),
        ({4}, Cpus("4", "4")),
    ],
)
def test_two_hosts(usable: set[int], cpus: Cpus) -> None:
    assert cpu_sets(Policy.HOSTS, usable) == cpus


def test_any() -> None:
    assert cpu_sets(Policy.ANY, {0, 1}) == Cpus("0,1", "0,1")


def test_in_words() -> None:
    assert str(Cpus("0,1", "0,1")) == "everything on CPUs 0,1"
    assert "serves the image on CPU 1" in str(Cpus("0", "1"))
