# SPDX-License-Identifier: BSD-3-Clause
"""Where a device keeps its data: the ``driver=`` of a configuration's ``backend``.

The tables, one a device model, map a driver's name to what takes its keys. A new driver is a module
here and a line there.
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
    """Takes a driver's keys, whose device is ``readonly``. Raises ConfigError."""

    def __call__(self, values: Values, *, readonly: bool) -> BackendOptions: ...


DRIVERS: dict[str, TakeOptions] = {
    "block-posix": PosixOptions.take,
    "block-memory": MemoryOptions.take,
}


def _openssl(values: Values) -> CryptoOptions:
    # To load OpenSSL takes a target longer than all the rest of its start.
    from vof.target.backends.crypto_openssl import OpensslOptions  # noqa: PLC0415

    return OpensslOptions.take(values)


CRYPTO_DRIVERS: dict[str, Callable[[Values], CryptoOptions]] = {
    "crypto-openssl": _openssl,
}

RNG_DRIVERS: dict[str, Callable[[Values], RngOptions]] = {
    "rng-random": RandomOptions.take,
    "rng-file": FileOptions.take,
    "rng-simulator": SimulatorOptions.take,
}
