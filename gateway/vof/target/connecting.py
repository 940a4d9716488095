# SPDX-License-Identifier: BSD-3-Clause
"""A Connect, whatever brought it (*v5* "Connect Command").

Owns what is answered to one. Must not know how it came, nor how the answer goes.
"""

from __future__ import annotations

from vof.target.association import NO_OFFER, Caller, ConnectedQueue, Link, TransportOffer
from vof.target.association_table import AssociationTable, Refusal
from vof.wire.connect import Connect, ForeignConnect, Names
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, Command, Transport
from vof.wire.dialect import PROPOSAL
from vof.wire.status import Reason

MAX_REFUSALS = 16
"""Connects that may be refused on one connection; the last refusal closes it."""


def answer_connect(
    table: AssociationTable,
    transport: Transport,
    connect: Connect,
    names: Names | None,
    link: Link,
    offer: TransportOffer = NO_OFFER,
) -> tuple[bytes, ConnectedQueue | Refusal]:
    """Return the completion of a Connect that came over ``transport``, and the queue that it
    connected or why there is none.

    ``names`` are those of its body, None where it has none. ``link`` is the connection as its
    association is to know it.
    """
    dialect = connect.dialect
    caller = Caller(names, transport, dialect)
    try:
        if connect.target_id == CONTROL_QUEUE_TARGET_ID:
            # The queue id is not looked at: the initiators do not agree what to send here.
            connected = table.connect_control(caller, link, offer)
        else:
            connected = table.connect_queue(
                connect.target_id, connect.queue_id, caller, link, connect.queue_size
            )
    except Refusal as refused:
        status = dialect.status_of(refused.reason)
        return dialect.complete(Command.CONNECT, connect.command_id, status), refused
    # Virtqueues are told the target id too: the Linux initiator takes it from every Connect.
    value = connected.association.target_id
    return dialect.complete(Command.CONNECT, connect.command_id, value=value), connected


def answer_foreign(foreign: ForeignConnect) -> tuple[bytes, Refusal]:
    """Return the completion of a Connect that no revision has, and why."""
    # By command id 0 an initiator knows this answer (ours, after the reference target).
    reason = Reason.FOREIGN_FORM
    status = PROPOSAL.status_of(reason)
    return PROPOSAL.complete(Command.CONNECT, 0, status), Refusal(reason, str(foreign))
