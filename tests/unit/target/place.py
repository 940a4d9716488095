# SPDX-License-Identifier: BSD-3-Clause
"""A table of associations with one disk, and connections that only note what they are told."""

from __future__ import annotations

from tests.unit.target.disk import NotingBackend
from vof.target.association import NO_OFFER, Caller, ConnectedQueue, TransportOffer
from vof.target.association_table import AssociationTable
from vof.target.devices.block import BlockDevice, BlockOptions
from vof.target.registry import DeviceRegistry
from vof.wire.connect import Names
from vof.wire.constants import AsyncEvent, Transport
from vof.wire.dialect import PROPOSAL, V5, Dialect


class NotingLink:
    """A connection that is none."""

    def __init__(self, name: str, aborted: list[str]) -> None:
        self._name = name
        self._aborted = aborted
        self.events: list[bytes] = []
        self.resets = 0

    def abort(self) -> None:
        self._aborted.append(self._name)

    def notify(self, event: AsyncEvent, completion: bytes) -> None:
        assert completion[2:4] == event.to_bytes(2, "little")
        self.events.append(completion)

    def reset(self) -> None:
        self.resets += 1


def caller(
    ivqn: str = "me",
    tvqn: str = "dev",
    dialect: Dialect = PROPOSAL,
    transport: Transport = Transport.TCP,
) -> Caller:
    return Caller(Names(ivqn, tvqn), transport, dialect)


class Place:
    """A table with one device, and the connections that were ended."""

    def __init__(self, limit: int = 8) -> None:
        self.backend = NotingBackend()
        self.device = BlockDevice("dev", 0, BlockOptions(queues=3), self.backend)
        self.table = AssociationTable(DeviceRegistry(), limit)
        self.table.devices.add(self.device)
        self.aborted: list[str] = []

    def link(self, name: str) -> NotingLink:
        return NotingLink(name, self.aborted)

    def control(self, ivqn: str = "me") -> ConnectedQueue:
        return self.table.connect_control(caller(ivqn), self.link("control"))

    def of(self, dialect: Dialect = V5, offer: TransportOffer = NO_OFFER) -> ConnectedQueue:
        """An association of this dialect."""
        return self.table.connect_control(caller(dialect=dialect), self.link("control"), offer)

    def queue(
        self, target_id: int, queue: int, ivqn: str = "me", tvqn: str = "dev"
    ) -> ConnectedQueue:
        who = caller(ivqn, tvqn)
        return self.table.connect_queue(target_id, queue, who, self.link(f"queue {queue}"))
