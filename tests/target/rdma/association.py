# SPDX-License-Identifier: BSD-3-Clause
"""A keyed initiator's connections to one device."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tests.target.peer import BLOCK0, IVQN
from tests.target.rdma.keyed_peer import Address, KeyedPeer
from vof.wire.constants import Command
from vof.wire.dialect import V5, Dialect

NUM_DESCS, EAGER_BUF = 1, 2
"""Transport features (*v5*)."""


class KeyedAssociation:
    """A control queue and virtqueues."""

    def __init__(
        self,
        address: Address,
        tvqn: str = BLOCK0,
        *,
        dialect: Dialect = V5,
        queues: int = 1,
        features: int = 0,
        ivqn: str = IVQN,
    ) -> None:
        self.address, self.tvqn, self.ivqn, self.dialect = address, tvqn, ivqn, dialect
        self.queues: list[KeyedPeer] = []
        self.control = KeyedPeer(address, dialect=dialect)
        try:
            self.target_id = self.control.connect(tvqn=tvqn, ivqn=ivqn)
            if features:
                self.control.control(Command.SET_FEATURE, value=features)
            for index in range(queues):
                self.add_queue(index)
        except BaseException:
            self.close()
            raise

    def add_queue(self, index: int) -> KeyedPeer:
        peer = KeyedPeer(self.address, dialect=self.dialect)
        self.queues.append(peer)
        assert peer.connect(self.target_id, index, tvqn=self.tvqn, ivqn=self.ivqn) == self.target_id
        return peer

    @property
    def queue(self) -> KeyedPeer:
        return self.queues[0]

    def is_closed(self) -> bool:
        return all(peer.is_closed() for peer in (self.control, *self.queues))

    def close(self) -> None:
        for peer in (*self.queues, self.control):
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
