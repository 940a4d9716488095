# SPDX-License-Identifier: BSD-3-Clause
"""The list of a device's algorithms as text, for people and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vof.drivers.crypto import CryptoDriver
from vof.gateways.crypto.algorithms import Algorithm, text_of
from vof.gateways.crypto.jobs import Setup, max_input


def listing(driver: CryptoDriver, algorithms: Iterable[Algorithm]) -> str:
    """Return a line for each algorithm: its name, then ``key=value`` pairs; lengths in bytes."""
    return "".join(
        f"{algorithm.name:20} {' '.join(_pairs(driver, algorithm))}\n" for algorithm in algorithms
    )


def _pairs(driver: CryptoDriver, algorithm: Algorithm) -> Iterator[str]:
    yield f"service={algorithm.service.name.lower()}"
    yield f"operations={','.join(algorithm.operations)}"
    if algorithm.key_lengths:
        yield f"key={text_of(algorithm.key_lengths)}"
    elif algorithm.has_key:
        yield "key=pem,der"
    if algorithm.iv_lengths:
        yield f"iv={text_of(algorithm.iv_lengths)}"
    if algorithm.tag_lengths:
        yield f"tag={text_of(algorithm.tag_lengths)}"
    if algorithm.block > 1:
        yield f"block={algorithm.block}"
    iv = bytes(max(algorithm.iv_lengths, default=0))
    size = max_input(driver, Setup(algorithm, iv=iv), algorithm.operations[0])
    yield f"max_size={size // algorithm.block * algorithm.block}"
