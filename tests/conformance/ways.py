# SPDX-License-Identifier: BSD-3-Clause
"""The ways in which an initiator and a target meet: transport, implementation, dialect, eager.

Over TCP they are all there is: both implementations of the data path, each dialect. Where
``VOF_CONFORMANCE_RDMA`` names an address that an RDMA device serves, they are those of RDMA instead
(its data path has one implementation): that is for the guest, see ``tests/guest``. No kernel
without a device is asked, so that nothing is left out by itself.

A test that asks for ``served`` or ``spawn`` runs once for each way; one marked ``one_dialect``,
in the latest dialect alone. Marked ``rdma`` are those that run in the guest, where everything takes
ten times as long: what depends on how buffers, answers and ends travel, and no more than that; and
``rdma_once`` those of them that run in one dialect there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vof.implementation import Implementation
from vof.wire.dialect import DIALECTS, V5, Dialect

RDMA_ADDRESS = os.environ.get("VOF_CONFORMANCE_RDMA")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Way:
    """One of them."""

    transport: str
    address: str
    """Where the target listens."""
    dialect: str
    implementation: str | None = None
    """The data path that is forced on both, None where there is but one."""
    eager: bool | None = None
    """Whether eager buffers are used, None where there are none."""

    @property
    def spoken(self) -> Dialect:
        """The dialect itself."""
        return next(item for item in DIALECTS if item.name == self.dialect)

    @property
    def name(self) -> str:
        eager = {None: None, True: "eager", False: "keyed"}[self.eager]
        parts = (self.transport, self.implementation, self.dialect, eager)
        return "-".join(part for part in parts if part)

    @property
    def parameters(self) -> dict[str, Any]:
        """What a session's parameters have to say of it."""
        found: dict[str, Any] = {"transport": self.transport, "dialect": self.dialect}
        return found if self.eager is None else found | {"eager": self.eager}

    @property
    def offers(self) -> int:
        """The transport feature bits that the target offers; until a request has said that it is
        *v2*, what speaks it may as well be *v5*."""
        return 0b11 if self.transport == "rdma" and self.dialect == V5.name else 0

    def some(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return all of them, or every tenth in the slow guest."""
        return items if self.transport == "tcp" else items[::10]

    def rounds(self, count: int) -> int:
        """Return how often to do what is done ``count`` times: fewer in the slow guest."""
        return count if self.transport == "tcp" else -(-count // 10)


def _over_tcp() -> list[Way]:
    return [
        Way("tcp", "127.0.0.1", dialect.name, item.value)
        for item in Implementation
        for dialect in DIALECTS
    ]


def _over_rdma(address: str) -> list[Way]:
    ways = []
    for dialect in DIALECTS:
        choices = (True, False) if dialect.transport_features else (None,)
        ways += [Way("rdma", address, dialect.name, eager=eager) for eager in choices]
    return ways


WAYS: Sequence[Way] = _over_rdma(RDMA_ADDRESS) if RDMA_ADDRESS else _over_tcp()

ONE_DIALECT = [way for way in WAYS if way.dialect == V5.name and way.eager is not False]

BY_HAND = Way("tcp", "127.0.0.1", V5.name)
"""The way of initiators that are made by hand, whatever dialect they then speak."""
