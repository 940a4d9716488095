# SPDX-License-Identifier: BSD-3-Clause
"""RDMA in the guest: rxe, pyverbs, connections over a wire, and what ends them.

Like `scenario_boot` without any code of the gateway: if the steps here pass, and those of the parts
at its end fail, which use the gateway's fabric, the fault is ours.
"""

import json
import signal
import subprocess
import sys
import time
from typing import Any

from tests.guest import (
    rxe,
    scenario_conformance,
    scenario_fabric,
    scenario_rdma_gateways,
    scenario_target_rdma,
    verbs,
)
from tests.guest.steps import Scenario, expect, run
from tests.guest.suite import run_suite

scenario = Scenario()

SUITE = "verbs"
"""What `run_suite` runs of `suite_verbs`."""


@scenario.step()
def load_rxe() -> None:
    rxe.load()


@scenario.step(needs=("load_rxe",))
def set_up_devices() -> dict[str, str]:
    rxe.set_up_alone()
    rxe.set_up_unserved()
    rxe.set_up_wire()
    return rxe.links()


@scenario.step(needs=("set_up_devices",), timeout=120)
def run_verbs_suite() -> None:
    run_suite(SUITE, "tests/guest/suite_verbs.py")


# --- a target and an initiator


class Side:
    """One process of `tests.guest.verbs`."""

    def __init__(self, *arguments: str) -> None:
        argv = (sys.executable, "-m", "tests.guest.verbs", *arguments)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def result(self) -> dict[str, Any]:
        """Its last line, when it has ended by itself."""
        output, _ = self.process.communicate(timeout=verbs.PATIENCE + 10)
        expect(self.process.returncode == 0, f"it ended with {self.process.returncode}")
        found: dict[str, Any] = json.loads(output)
        return found


def start(port: rxe.Port, *options: str) -> tuple[Side, Side]:
    """A target at that port, and an initiator that connects to it."""
    target = Side("target", port.address)
    expect(target.line() == "listening", "the target does not listen")
    return target, Side("initiator", port.address, *options)


def exchange(port: rxe.Port) -> dict[str, Any]:
    target, initiator = start(port)
    return {"initiator": initiator.result(), "target": target.result()}


@scenario.step(needs=("set_up_devices",))
def one_device() -> dict[str, Any]:
    return exchange(rxe.ALONE)


@scenario.step(needs=("set_up_devices",))
def across_the_wire() -> dict[str, Any]:
    ends = (rxe.NEAR, rxe.FAR)
    packets = [end.packets() for end in ends]
    found = exchange(rxe.FAR)
    found["packets"] = [end.packets() - count for end, count in zip(ends, packets, strict=True)]
    found["not_ready"] = [end.counter("send_rnr_err") for end in ends]
    return found


@scenario.step(needs=("across_the_wire",))
def kernel_is_content() -> list[str]:
    """What the kernel has said while nothing was wrong; 5 is what it calls a notice."""
    return [
        line
        for line in run("dmesg", "--raw").splitlines()
        if line.startswith(("<0>", "<1>", "<2>", "<3>")) and "rxe" in line
    ]


def start_holding() -> tuple[Side, Side]:
    target, initiator = start(rxe.FAR, "--hold")
    expect(initiator.line() == "holding", "the initiator does not get to its end")
    return target, initiator


def kill(victim: Side, survivor: Side) -> dict[str, Any]:
    victim.process.kill()
    begin = time.monotonic()
    found = survivor.result()
    expect(victim.process.wait() == -signal.SIGKILL, "it had ended before")
    return {**found, "seconds": time.monotonic() - begin}


@scenario.step(needs=("across_the_wire",))
def kill_target() -> dict[str, Any]:
    target, initiator = start_holding()
    return kill(target, initiator)


@scenario.step(needs=("across_the_wire",))
def kill_initiator() -> dict[str, Any]:
    target, initiator = start_holding()
    return kill(initiator, target)


@scenario.step(needs=("across_the_wire",))
def cut_the_wire() -> dict[str, Any]:
    """Both processes live on, and neither hears of the other."""
    target, initiator = start_holding()
    rxe.cut()
    begin = time.monotonic()
    found: dict[str, Any] = {"initiator": initiator.result(), "target": target.result()}
    found["seconds"] = time.monotonic() - begin
    return found


@scenario.step(needs=("set_up_devices",), always=True)
def mend_the_wire() -> dict[str, Any]:
    rxe.mend()
    return exchange(rxe.FAR)


for part in (
    scenario_target_rdma,
    scenario_conformance,
    scenario_rdma_gateways,
    scenario_fabric,
):
    scenario.include(part.scenario)

if __name__ == "__main__":
    scenario.main()
