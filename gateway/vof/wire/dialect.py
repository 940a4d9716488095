# SPDX-License-Identifier: BSD-3-Clause
"""The one place that knows how the published revisions of the protocol differ.

Three revisions exist. They number the transports and two opcodes differently, and later ones add
ways to carry a virtqueue's buffers. A dialect belongs to an association. This release speaks
``proposal``, the revision of every known peer; ``auto`` therefore means ``proposal``.
"""

from __future__ import annotations

from dataclasses import dataclass

from vof.errors import ConfigError


@dataclass(frozen=True)
class Dialect:
    """Numbers of one revision."""

    name: str
    oftype_tcp: int
    """``oftype`` of a Connect over TCP."""
    oftype_rdma: int
    """``oftype`` of a Connect over RDMA."""
    get_feature: int
    """Opcode: get a transport feature."""
    set_feature: int
    """Opcode: set a transport feature."""


PROPOSAL = Dialect("proposal", oftype_tcp=0, oftype_rdma=1, get_feature=3, set_feature=4)

FEATURE_SELECT_MAX_SEGS = 0
"""``feature_select`` of the proposal's transport feature: the most descriptors of one command."""

_BY_NAME = {"auto": PROPOSAL, PROPOSAL.name: PROPOSAL}

DIALECT_NAMES = tuple(_BY_NAME)


def dialect_by_name(name: str) -> Dialect:
    """Return the dialect a user named. Raises ConfigError with the names there are."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ConfigError(f"dialect={name}: not known; use one of {', '.join(_BY_NAME)}") from None
