# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of each dialect, and how a user names one."""

from __future__ import annotations

import pytest

from vof.errors import ConfigError
from vof.wire.dialect import (
    DIALECT_NAMES,
    FEATURE_SELECT_MAX_SEGS,
    PROPOSAL,
    Dialect,
    dialect_by_name,
)


def test_proposal() -> None:
    assert (
        Dialect(name="proposal", oftype_tcp=0, oftype_rdma=1, get_feature=3, set_feature=4)
        == PROPOSAL
    )
    assert FEATURE_SELECT_MAX_SEGS == 0


def test_by_name() -> None:
    assert dialect_by_name("proposal") is PROPOSAL
    assert dialect_by_name("auto") is PROPOSAL


def test_every_name_is_listed() -> None:
    assert set(DIALECT_NAMES) == {"auto", "proposal"}
    assert all(isinstance(dialect_by_name(name), Dialect) for name in DIALECT_NAMES)


@pytest.mark.parametrize("name", ["", "Proposal", "v5", "auto "])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ConfigError, match="use one of auto, proposal") as caught:
        dialect_by_name(name)
    assert f"dialect={name}:" in str(caught.value)
