# SPDX-License-Identifier: BSD-3-Clause
"""What an association costs a target that does nothing for it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.bench.accounting import private_memory
from tests.bench.fabric_load import OPEN
from tests.bench.load_generators import IMAGE_SIZE, fabric_program
from tests.bench.pinning import Cpus
from tests.bench.processes import BOUND, END_TIMEOUT, Unavailable, last_line, pinned, target
from tests.bench.sides import TVQN, devices

FIRST = 8
"""Associations that are not counted: what a target keeps for all of them comes with these."""
COUNTED = 64
OPEN_TIMEOUT = 60.0


def idle_association(work: Path, cpus: Cpus, queues: int) -> float:
    """Return the bytes of a target's own memory that one takes. Raises Unavailable.

    The target is a new one: another has memory left over that it would use again. Buffers of the
    kernel's sockets are not in it.
    """
    # A target keeps others away from its image, and of this one nothing is read.
    image = work / f"idle{queues}.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_SIZE)
    with target(work, f"idle{queues}", devices(image), cpus.target) as served:
        with holding(served.port, FIRST, queues, cpus.initiator):
            before = private_memory(served.pid)
            with holding(served.port, COUNTED, queues, cpus.initiator):
                return (private_memory(served.pid) - before) / COUNTED


@contextlib.contextmanager
def holding(port: str, count: int, queues: int, cpus: str) -> Iterator[None]:
    """Hold that many idle associations for as long as the block lasts."""
    command = pinned(cpus, *fabric_program(port, TVQN, count, queues), "--idle")
    with subprocess.Popen(
        [*BOUND, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        give_up = threading.Timer(OPEN_TIMEOUT, process.kill)
        give_up.start()
        try:
            said = process.stdout.readline()
            give_up.cancel()
            if said.strip() != OPEN:
                rest = process.communicate()[0]
                raise Unavailable(f"fabric_load failed: {last_line(said + rest)}")
            yield
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=END_TIMEOUT)
        finally:
            give_up.cancel()
            process.kill()
