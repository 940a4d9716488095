# SPDX-License-Identifier: BSD-3-Clause
"""The one error that says why no address of a target could be reached.

Owns its words, which stay short however many addresses there are. Must not know a transport.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from vof.descriptors import SHORTAGES
from vof.errors import ConnectError
from vof.fabric.destination import Destination
from vof.fabric.staggered import AllFailed

MAX_NAMED = 8
"""Addresses that a message names."""

_TELLING = (
    *sorted(SHORTAGES),
    errno.ECONNREFUSED,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
)
"""The errnos that say most of a target with several addresses, best first."""


class Failure(NamedTuple):
    """An attempt at one address that has failed."""

    address: str
    text: str
    errno: int | None
    advice: str = ""
    """What to do, where the text does not say it."""


Explain: TypeAlias = Callable[[str, OSError | None], Failure | ConnectError]
"""Takes an address, and why it was not reached: None where it had not answered when the time was
up. An error that stands for itself is about this machine's own end."""


def unreachable(
    destination: Destination, failed: AllFailed, explain: Explain, how: str = ""
) -> ConnectError:
    """Return the error for a target whose addresses were tried, ``how`` says over what."""
    # That the local end does not go with one address says nothing where it goes with another.
    addresses = [item.host for item in destination.addresses()]
    found = [
        reason if isinstance(reason, ConnectError) else explain(address, reason)
        for address, reason in zip(addresses, failed.reasons, strict=False)
    ]
    failures = [item for item in found if isinstance(item, Failure)]
    if not failures:
        return next(item for item in found if isinstance(item, ConnectError))
    telling = min(failures, key=_rank)
    text = _grouped(failures)
    if [item.address for item in failures] == [destination.taddr]:
        text = telling.text
    advice = f"; {telling.advice}" if telling.advice else ""
    return ConnectError(
        f"cannot connect to {destination.where}{how}: {text}{advice}", errno=telling.errno
    )


def _rank(failure: Failure) -> int:
    return _TELLING.index(failure.errno) if failure.errno in _TELLING else len(_TELLING)


def _grouped(failures: Sequence[Failure]) -> str:
    """Name each address once, those that failed alike together."""
    groups: dict[str, list[str]] = {}
    for item in failures[:MAX_NAMED]:
        groups.setdefault(item.text, []).append(item.address)
    parts = [f"{', '.join(addresses)}: {text}" for text, addresses in groups.items()]
    if len(failures) > MAX_NAMED:
        parts.append(f"{len(failures) - MAX_NAMED} more addresses failed too")
    return "; ".join(parts)
