# SPDX-License-Identifier: BSD-3-Clause
"""The opening of an association: the dialect to speak, and why there is none.

Owns the order in which dialects are tried where the user names none, the bound of the time that all
of it takes, and the errors as a user sees them. Must not initialise a device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from vof.errors import CompletionError, ConnectError, SessionLost
from vof.fabric.destination import Destination
from vof.initiator.association import Association, Identity
from vof.initiator.parameters import SessionParameters
from vof.initiator.portal import Portal
from vof.initiator.queue_sizes import QueueSizes
from vof.initiator.refusals import is_closed, may_be_of_later, refusal_of
from vof.wire.dialect import PROPOSAL, V5, Dialect, dialect_by_name
from vof.wire.status import SENTENCES


class Opened(NamedTuple):
    """An association whose device is as it was found, and what was said of that."""

    association: Association
    identity: Identity
    queue_sizes: QueueSizes


def open_association(portal: Portal, parameters: SessionParameters, tvqn: str) -> Opened:
    """Connect the control queue of an association and read what the device is.

    Raises ConnectError if the target cannot be reached, does not speak the protocol or refuses the
    Connect; ConfigError.
    """
    opening = _Opening(portal, parameters, tvqn)
    dialect = dialect_by_name(parameters.dialect)
    return opening.in_the_best() if dialect is None else opening.in_dialect(dialect)


class _Opening:
    """One opening, whose time begins when this is made."""

    def __init__(self, portal: Portal, parameters: SessionParameters, tvqn: str) -> None:
        self._portal = portal
        self._parameters = parameters
        self._tvqn = tvqn
        self._destination: Destination = portal.destination(parameters.connect_timeout)

    def in_dialect(self, dialect: Dialect) -> Opened:
        association = self._begin(dialect)
        with self._ended_on_failure(association):
            association.connect()
            return Opened(association, *association.identify())

    def in_the_best(self) -> Opened:
        """Connect as *proposal*, which harms no target that is known: the reference target ends of
        a Connect in any other form. Go on as *v5* where the target is ours, or knows no *proposal*.
        """
        association = self._begin(PROPOSAL)
        foreign: ConnectError | None = None
        with self._ended_on_failure(association):
            try:
                association.connect()
            except (CompletionError, SessionLost) as error:
                if not may_be_of_later(error):
                    raise
                foreign = self._as_connect_error(association, error)
            else:
                association.ask_vendor()
                if not association.quirks.speaks_v5:
                    return Opened(association, *association.identify())
            association.leave(_closed(self._tvqn))
        try:
            return self.in_dialect(V5)
        except ConnectError as error:
            # What a target of the later text says is the answer; else what was said first.
            answer = error.__cause__
            if foreign is None or (
                isinstance(answer, CompletionError) and answer.status in SENTENCES
            ):
                raise
            raise foreign from None

    def _begin(self, dialect: Dialect) -> Association:
        return Association(self._portal, self._parameters, self._tvqn, dialect, self._destination)

    @contextlib.contextmanager
    def _ended_on_failure(self, association: Association) -> Iterator[None]:
        """End the association if what is done meanwhile fails, and raise that as a ConnectError."""
        try:
            yield
        except (CompletionError, SessionLost) as error:
            association.end(_closed(self._tvqn))
            raise self._as_connect_error(association, error) from error
        except BaseException:
            association.end(_closed(self._tvqn))
            raise

    def _as_connect_error(
        self, association: Association, error: CompletionError | SessionLost
    ) -> ConnectError:
        if isinstance(error, CompletionError):
            first = association.target_id is None
            return ConnectError(
                refusal_of(self._portal, self._tvqn, association.dialect, error, first=first),
                errno=error.errno,
            )
        # One that is full says so in its log alone.
        hint = "; if it is one, see its log" if is_closed(error) else ""
        text = f"{self._portal.where} did not answer as a Virtio-oF target: {error}{hint}"
        return ConnectError(text, errno=error.errno)


def _closed(tvqn: str) -> SessionLost:
    return SessionLost(f"session with '{tvqn}' is closed")
