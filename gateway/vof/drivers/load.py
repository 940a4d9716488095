# SPDX-License-Identifier: BSD-3-Clause
"""A load on a block device: what the fabric and the target carry, with nothing before them.

Over native queues one thread a queue keeps ``depth`` requests in flight, sending and taking
completions in batches; over the Python fabric the same is done with the driver's own requests.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vof.drivers.block import BlockDriver, Request
from vof.errors import LocalProtocolError, VofError

MAX_DEPTH = 1024
_BUCKETS = 512


@dataclass(frozen=True)
class LoadPlan:
    """A load to be put on the device."""

    write: bool = False
    random: bool = True
    block_size: int = 4096
    """Bytes of a request: whole blocks of the device, at most its ``max_transfer``."""
    depth: int = 32
    """Requests in flight on each queue, at most ``MAX_DEPTH``."""
    seconds: float = 10.0
    seed: int = 1


@dataclass(frozen=True)
class LoadResult:
    """The requests that were carried, over all queues."""

    requests: int
    bytes: int
    errors: int
    seconds: float
    latencies: Sequence[int]
    """How many requests took how long: see ``percentile``."""

    def percentile(self, percent: float) -> float:
        """Return the seconds within which ``percent`` of the requests were completed, to 12 %."""
        wanted = sum(self.latencies) * percent / 100
        for bucket, count in enumerate(self.latencies):
            wanted -= count
            if wanted <= 0:
                return _bucket_end(bucket)
        return 0.0


def run(driver: BlockDriver, plan: LoadPlan) -> LoadResult:
    """Run a load on every queue of ``driver``. Raises LocalProtocolError for a plan it cannot do.

    Writes destroy what the device holds.
    """
    geometry = driver.geometry
    if plan.block_size % geometry.block_size or not 0 < plan.block_size <= geometry.max_transfer:
        raise LocalProtocolError(
            f"requests of {plan.block_size} bytes: multiples of {geometry.block_size} up to "
            f"{geometry.max_transfer} are possible"
        )
    if not 0 < plan.depth <= MAX_DEPTH:
        raise LocalProtocolError(f"depth {plan.depth}: 1 to {MAX_DEPTH} are possible")
    if plan.write and driver.read_only:
        raise LocalProtocolError("the device is read-only")
    queues = range(len(driver.session.virtqueues))
    with ThreadPoolExecutor(len(queues)) as pool:
        parts = list(pool.map(lambda queue: _run_queue(driver, queue, plan), queues))
    return LoadResult(
        requests=sum(part.requests for part in parts),
        bytes=sum(part.bytes for part in parts),
        errors=sum(part.errors for part in parts),
        seconds=max(part.seconds for part in parts),
        latencies=[sum(each) for each in zip(*(part.latencies for part in parts), strict=True)],
    )


def _run_queue(driver: BlockDriver, queue: int, plan: LoadPlan) -> LoadResult:
    if driver.carrier is None:
        return _run_in_python(driver, queue, plan)
    return LoadResult(*driver.carrier.load(queue, plan))


def _run_in_python(driver: BlockDriver, queue: int, plan: LoadPlan) -> LoadResult:
    rng = random.Random(plan.seed + queue)
    places = driver.geometry.capacity // plan.block_size
    buffers = deque(memoryview(bytearray(plan.block_size)) for _ in range(plan.depth))
    in_flight: deque[tuple[Request, memoryview, float]] = deque()
    latencies = [0] * _BUCKETS
    errors = done = place = 0
    start = now = time.monotonic()
    until = start + plan.seconds
    start_request = driver.start_write if plan.write else driver.start_read
    while in_flight or now < until:
        while buffers and now < until:
            place = rng.randrange(places) if plan.random else place % places
            try:
                request = start_request(place * plan.block_size, buffers[0], wait=not in_flight)
            except VofError:  # the session has ended, by what another queue saw
                errors += 1
                until = now
                break
            if request is None:
                break
            in_flight.append((request, buffers.popleft(), now))
            place += 1
            now = time.monotonic()
        if not in_flight:
            break
        request, buffer, began = in_flight.popleft()
        try:
            driver.finish(request)
            done += 1
            latencies[_bucket_of(time.monotonic() - began)] += 1
        except VofError:
            errors += 1
            if driver.session.error is not None:
                until = now
        buffers.append(buffer)
        now = time.monotonic()
    return LoadResult(done, done * plan.block_size, errors, now - start, latencies)


def _bucket_of(seconds: float) -> int:
    value = max(8, int(seconds * 1e9))
    exponent = value.bit_length() - 1
    return exponent << 3 | (value >> (exponent - 3) & 7)


def _bucket_end(bucket: int) -> float:
    exponent, step = bucket >> 3, bucket & 7
    return (9 + step) * 2.0 ** (exponent - 3) / 1e9
