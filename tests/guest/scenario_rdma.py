# SPDX-License-Identifier: BSD-3-Clause
"""RDMA in the guest: its devices, and what all that is tested over them runs on.

The parts are modules of their own and share this boot. The conformance suite comes first, while
nothing has been made to go wrong; the last is `scenario_fabric`, one of whose targets posts no
receives, and others count how often that happens.
"""

from tests.guest import (
    rxe,
    scenario_conformance,
    scenario_fabric,
    scenario_rdma_gateways,
    scenario_target_rdma,
)
from tests.guest.steps import Scenario, run

scenario = Scenario()


@scenario.step()
def load_rxe() -> None:
    rxe.load()


@scenario.step(needs=("load_rxe",))
def set_up_devices() -> dict[str, str]:
    rxe.set_up_alone()
    rxe.set_up_unserved()
    rxe.set_up_wire()
    return rxe.links()


scenario.include(scenario_conformance.scenario)


@scenario.step(needs=("set_up_devices",))
def kernel_is_content() -> list[str]:
    """What the kernel has said while nothing was wrong; 5 is what it calls a notice."""
    return [
        line
        for line in run("dmesg", "--raw").splitlines()
        if line.startswith(("<0>", "<1>", "<2>", "<3>")) and "rxe" in line
    ]


@scenario.step(needs=("set_up_devices",))
def packets() -> list[int]:
    """What has crossed the wire, to either end of it."""
    return [end.packets() for end in (rxe.NEAR, rxe.FAR)]


for part in (scenario_rdma_gateways, scenario_target_rdma, scenario_fabric):
    scenario.include(part.scenario)

if __name__ == "__main__":
    scenario.main()
