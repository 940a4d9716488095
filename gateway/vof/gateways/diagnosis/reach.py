# SPDX-License-Identifier: BSD-3-Clause
"""Tries to reach devices: opens a session to each, all at once, and closes it again."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vof.errors import VofError
from vof.gateways.device_names import device_type
from vof.gateways.diagnosis.finding import Finding, Status
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session

CONNECT_TIMEOUT = 5.0
"""Seconds for a session to open: whoever looks for a fault wants an answer soon."""

MAX_AT_ONCE = 16

_FIXES = {
    errno.ECONNREFUSED: "start the target there, or correct taddr and tport",
    errno.ETIMEDOUT: "see to the network, the firewall and the target's host",
    errno.EHOSTUNREACH: "see to the network and to taddr",
    errno.ENETUNREACH: "see to the network and to taddr",
    errno.ENODEV: "correct tvqn, or the target's configuration",
}
_OTHER_FIX = "correct taddr, tport and dialect, or see the target's log"


@dataclass(frozen=True)
class Wanted:
    """A device to be reached."""

    name: str
    parameters: SessionParameters


def check_reach(devices: Iterable[Wanted]) -> Iterator[Finding]:
    """Open a session to each device. One that does not answer holds up no other."""
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        yield from pool.map(_check, devices)


def _check(wanted: Wanted) -> Finding:
    parameters = dataclasses.replace(wanted.parameters, iport=0, connect_timeout=CONNECT_TIMEOUT)
    try:
        with Session.open(parameters) as session:
            kind, dialect = device_type(session.device_id), session.dialect
    except VofError as error:
        fix = _FIXES.get(error.errno, _OTHER_FIX)
        return Finding(wanted.name, Status.WRONG, str(error), fix)
    text = f"a {kind} at {parameters.where}, which speaks {dialect}"
    return Finding(wanted.name, Status.OK, text)
