# SPDX-License-Identifier: BSD-3-Clause
"""A crypto device and an offender at it, beside innocent initiators of every device.

After each test the innocents have lost nothing, and the offender's queue serves a good request.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.all_devices import Everyone, served
from tests.target.crypto_peer import OK, CryptoPeer, create_hash, run_hash


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    with served(tmp_path) as where:
        yield where


@pytest.fixture(autouse=True)
def everyone(address: tuple[str, int]) -> Iterator[Everyone]:
    with Everyone(address) as them:
        yield them
        them.check()


@pytest.fixture
def peer(address: tuple[str, int]) -> Iterator[CryptoPeer]:
    """An offender; that it can still do what is right is checked in the end."""
    with CryptoPeer(address, queues=2) as made:
        yield made
        session = made.session(create_hash())
        assert made.run(run_hash(session, b"x"))[0] == OK
