# SPDX-License-Identifier: BSD-3-Clause
"""Backends: what keeps a device's data, does its arithmetic or gives its random bytes.

The ``driver=`` of a configuration names one. The tables, one a device model, map that name to what
takes the backend's keys. A new backend is a module here and a line there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vof.target.backends.crypto_interface import CryptoOptions
from vof.target.backends.interface import BackendOptions
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.backends.rng_file import FileOptions
from vof.target.backends.rng_interface import RngOptions
from vof.target.backends.rng_random import RandomOptions
from vof.target.backends.rng_simulator import SimulatorOptions
from vof.target.values import Values


class TakeOptions(Protocol):
    """Takes a backend's keys, whose device is ``readonly``. Raises ConfigError."""

    def __call__(self, values: Values, *, readonly: bool) -> BackendOptions: ...


BLOCK_BACKENDS: dict[str, TakeOptions] = {
    "block-posix": PosixOptions.take,
    "block-memory": MemoryOptions.take,
}


def _openssl(values: Values) -> CryptoOptions:
    # To load OpenSSL takes a target longer than all the rest of its start.
    from vof.target.backends.crypto_openssl import OpensslOptions  # noqa: PLC0415

    return OpensslOptions.take(values)


CRYPTO_BACKENDS: dict[str, Callable[[Values], CryptoOptions]] = {
    "crypto-openssl": _openssl,
}

RNG_BACKENDS: dict[str, Callable[[Values], RngOptions]] = {
    "rng-random": RandomOptions.take,
    "rng-file": FileOptions.take,
    "rng-simulator": SimulatorOptions.take,
}
