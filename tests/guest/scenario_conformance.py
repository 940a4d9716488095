# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite over RDMA, in the guest: see `tests.conformance.ways`.

A part of `scenario_rdma`, which has set up the devices.
"""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITE = "conformance"

FILES = [
    f"tests/conformance/test_{name}.py"
    for name in ("block", "block_integrity", "control", "crypto", "rng", "shapes")
]
"""Those that run over RDMA. The others would be imported for nothing, which takes long here."""


def _not_ready() -> int:
    """How often the devices were sent something that they had posted no receive for."""
    return rxe.NEAR.counter("send_rnr_err") + rxe.FAR.counter("send_rnr_err")


@scenario.step(timeout=500)
def conformance() -> dict[str, int]:
    """Every connection crosses the wire."""
    before = _not_ready()
    arguments = ("-m", "rdma", "-o", "timeout=120", *FILES)
    run_suite(SUITE, *arguments, VOF_CONFORMANCE_RDMA=rxe.FAR.address)
    return {"not_ready": _not_ready() - before}
