# SPDX-License-Identifier: BSD-3-Clause
"""A Connect, whatever brought it (*proposal*, "Connect").

Owns what is answered to one. Must not know how it came, nor how the answer goes.
"""

from __future__ import annotations

import errno

from vof.target.association import (
    NO_OFFER,
    AssociationTable,
    Attachment,
    Caller,
    Link,
    Refusal,
    TransportOffer,
)
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, Transport
from vof.wire.dialect import dialects_by_oftype
from vof.wire.names import decode_name
from vof.wire.structs import Completion, ConnectBody, ConnectCommand

MAX_REFUSALS = 16
"""Connects that may be refused on one connection; the last refusal closes it."""


def answer_connect(
    table: AssociationTable,
    transport: Transport,
    connect: ConnectCommand,
    body: ConnectBody,
    link: Link,
    offer: TransportOffer = NO_OFFER,
) -> tuple[Completion, Attachment | Refusal]:
    """Return the completion of a Connect that came over ``transport``, and the connection's place
    or why it has none. ``link`` is the connection as its association is to know it."""
    dialects = dialects_by_oftype(transport, connect.oftype)
    if not dialects:
        # By command id 0 an initiator that begins with a later revision's numbers knows this one
        # (ours, after the reference target).
        refusal = Refusal(errno.EPROTO, f"oftype {connect.oftype} is not {transport.name}")
        return Completion(status=refusal.status, command_id=0), refusal
    caller = Caller(decode_name(body.ivqn), decode_name(body.tvqn), transport, dialects)
    try:
        if connect.target_id == CONTROL_QUEUE_TARGET_ID:
            # The queue id is not looked at: the initiators do not agree what to send here.
            attachment = table.connect_control(caller, link, offer)
        else:
            attachment = table.connect_queue(connect.target_id, connect.queue_id, caller, link)
    except Refusal as refused:
        return Completion(status=refused.status, command_id=connect.command_id), refused
    # Virtqueues are told the target id too: the Linux initiator takes it from every Connect.
    value = attachment.association.target_id
    return Completion(status=0, command_id=connect.command_id, value=value), attachment
