# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a crypto backend: what the crypto device asks of it.

Owns the interface only. A backend knows virtio's names of algorithms and the record of an operation
(``vof.wire.crypto_operations``), whose lengths agree with one another; block, key and nonce lengths
are its own to check. It must not know sessions, nor how a request travels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from vof.target.backends.backend import Backend
from vof.wire.crypto import Algorithm, Service
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import Parameters


class CryptoContext(ABC):
    """A key and its parameters, ready to be used; by several threads at once."""

    @abstractmethod
    def execute(self, request: DataRequest) -> bytes:
        """Return the result of an operation, empty where it has none. Raises BadRequest.

        ``request`` fits the parameters (``check_request``).
        """


class CryptoBackend(Backend):
    """Computes. Used by several threads at once."""

    offer: Mapping[Service, Collection[Algorithm]]
    """What it can compute."""

    @abstractmethod
    def prepare(self, parameters: Parameters) -> CryptoContext:
        """Return what executes operations with these parameters. Raises BadRequest.

        Their key may be overwritten as soon as the context is not used any more, and not before.
        """
