# SPDX-License-Identifier: BSD-3-Clause
"""Which CPUs a program of a measurement may run on, by the role it has.

Every side has the same sets, so none has an advantage: ``hosts`` gives each of the two machines
that a network would have between them CPUs of its own, ``any`` leaves all to the scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from enum import Enum
from typing import NamedTuple


class Policy(Enum):
    HOSTS = "hosts"  # half of the CPUs for the initiator's machine, half for the target's
    ANY = "any"  # all CPUs for everybody


class Cpus(NamedTuple):
    """CPU lists as taskset(1) takes them."""

    initiator: str
    """For the load generator and, where there is one, the gateway or proxy beside it."""
    target: str
    """For the program that has the image."""

    def __str__(self) -> str:
        if self.initiator == self.target:
            return f"everything on CPUs {self.initiator}"
        return (
            f"load generator and gateway on CPU {self.initiator}, "
            f"the program that serves the image on CPU {self.target}"
        )


def cpu_sets(policy: Policy, usable: Collection[int] | None = None) -> Cpus:
    """Return the sets; with one CPU there is nothing to divide."""
    cpus = sorted(os.sched_getaffinity(0) if usable is None else usable)
    half = len(cpus) // 2
    if policy is Policy.ANY or not half:
        return Cpus(_listed(cpus), _listed(cpus))
    return Cpus(_listed(cpus[:half]), _listed(cpus[half:]))


def _listed(cpus: Collection[int]) -> str:
    return ",".join(map(str, cpus))
