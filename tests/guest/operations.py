# SPDX-License-Identifier: BSD-3-Clause
"""What both ends of an association over RDMA post for a request, by their own count.

The initiator's count is its virtqueue's statistics; the target tells its own, at the end of each
connection, to whoever has it log in detail (`vof-target --verbose`).
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from tests.guest.steps import expect, wait_until
from vof.drivers.block import BlockDriver
from vof.initiator.parameters import SessionParameters

KINDS = ("reads", "writes", "sends", "receives")
"""RDMA READs, RDMA WRITEs, SENDs, and the other end's SENDs; what is posted besides, to learn that
earlier ones are done, belongs to no request."""

Counts = dict[str, int]


def per_request(
    parameters: SessionParameters, log: Callable[[], str], request: str, size: int = 4096
) -> dict[str, dict[str, float]]:
    """What a `write` or `read` of so many bytes takes at either end, one at a time.

    `log` gives what the target has logged so far. The connections' own share is found by two
    associations that do not make the same number of requests.
    """
    few, many = 8, 40
    less, more = (
        _run(replace(parameters, ivqn=f"vqn.uuid:{uuid4()}"), log, request, size, count)
        for count in (few, many)
    )
    return {
        end: {kind: (more[end][kind] - less[end][kind]) / (many - few) for kind in KINDS}
        for end in ("initiator", "target")
    }


def of_target(log: str, ivqn: str) -> Counts | None:
    """What the target has posted on the virtqueues of an initiator; None until its connections
    have ended."""
    events = [_fields(line) for line in log.splitlines() if " event=" in line]
    peers = {
        event["peer"]
        for event in events
        if event["event"] == "connected" and event["ivqn"] == ivqn and event["queue"] != "control"
    }
    ends = [event for event in events if event["event"] == "operations" and event["peer"] in peers]
    if not peers or len(ends) < len(peers):
        return None
    return {kind: sum(int(end[kind]) for end in ends) for kind in KINDS}


def _run(
    parameters: SessionParameters, log: Callable[[], str], request: str, size: int, count: int
) -> dict[str, Counts]:
    driver = BlockDriver.open(parameters, 1)
    try:
        for number in range(count):
            data = memoryview(bytearray(os.urandom(size)))
            offset = number * size
            start = {"write": driver.start_write, "read": driver.start_read}[request]
            started = start(offset, data)
            expect(started is not None, "there is no room for one request")
            assert started is not None
            driver.finish(started)
        statistics: Any = driver.session.virtqueues[0].fabric.statistics()
    finally:
        driver.close()
    wait_until("the target to end", lambda: of_target(log(), parameters.ivqn))
    posted = of_target(log(), parameters.ivqn)
    assert posted is not None
    initiator = {
        "reads": 0,  # there is nothing at a target to be read
        "writes": statistics.rdma_writes,
        "sends": statistics.sends,
        "receives": statistics.receives,
    }
    return {"initiator": initiator, "target": posted}


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
