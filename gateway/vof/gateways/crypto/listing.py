# SPDX-License-Identifier: BSD-3-Clause
"""The list of a device's algorithms, for people and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vof.drivers.crypto import CryptoDriver
from vof.gateways.crypto.algorithms import Algorithm, text_of
from vof.gateways.crypto.jobs import Setup, max_input


def listing(driver: CryptoDriver, algorithms: Iterable[Algorithm]) -> str:
    """Return a line for each algorithm: its name, then ``key=value`` pairs; lengths in bytes."""
    return "".join(
        f"{algorithm.name:20} {' '.join(map('='.join, facts(driver, algorithm)))}\n"
        for algorithm in algorithms
    )


def facts(driver: CryptoDriver, algorithm: Algorithm) -> Iterator[tuple[str, str]]:
    """Yield what is told of one algorithm, key and value; lengths in bytes."""
    yield "service", algorithm.service.name.lower()
    yield "operations", ",".join(algorithm.operations)
    if algorithm.key_lengths:
        yield "key", text_of(algorithm.key_lengths)
    elif algorithm.has_key:
        yield "key", "pem,der"
    if algorithm.iv_lengths:
        yield "iv", text_of(algorithm.iv_lengths)
    if algorithm.tag_lengths:
        yield "tag", text_of(algorithm.tag_lengths)
    if algorithm.block > 1:
        yield "block", str(algorithm.block)
    iv = bytes(max(algorithm.iv_lengths, default=0))
    size = max_input(driver, Setup(algorithm, iv=iv), algorithm.operations[0])
    yield "max_size", str(size // algorithm.block * algorithm.block)
