# SPDX-License-Identifier: BSD-3-Clause
"""Reads the refusal of a Connect: what to tell the user, and whether to try another revision.

Must not know an association.
"""

from __future__ import annotations

from vof.errors import CompletionError, NoAnswer, RemoteProtocolError, SessionLost
from vof.initiator.portal import Portal
from vof.wire.dialect import Dialect
from vof.wire.status import OTHER, Reason


def refusal_of(
    portal: Portal, tvqn: str, dialect: Dialect, error: CompletionError, *, first: bool
) -> str:
    """Return the message of a refusal; ``first`` says that no Connect has been taken before."""
    where = portal.where
    if error.errno == Reason.NO_TARGET.errno:
        return f"{where} has no device '{tvqn}'; check tvqn= against its configuration"
    if error.errno == Reason.FOREIGN_FORM.errno and first:
        spoken = f"dialect {dialect.name} over {portal.transport.value}"
        return f"{where} refused {spoken}: {error}; use dialect=auto"
    return f"{where} refused '{tvqn}': {error}"


def may_be_of_later(error: CompletionError | SessionLost) -> bool:
    """Return whether a *proposal* Connect ended as with a target that knows later revisions only:
    closed, or refused for its form. A refusal of the device is an answer."""
    if isinstance(error, CompletionError):
        return error.errno == Reason.FOREIGN_FORM.errno or error.status > OTHER
    return is_closed(error)


def is_closed(error: SessionLost) -> bool:
    """Return whether the target has closed the connection, and said nothing that cannot be."""
    return not isinstance(error, NoAnswer | RemoteProtocolError)
