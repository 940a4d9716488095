# SPDX-License-Identifier: BSD-3-Clause
"""What is counted of a crypto device's requests, whatever the bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.counts import OTHER
from vof.target.devices.crypto_results import kind_of, result_of
from vof.wire.crypto import ControlOpcode, DataOpcode

CREATE = int(ControlOpcode.CIPHER_CREATE_SESSION).to_bytes(4, "little")
HASH = int(DataOpcode.HASH).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("request_bytes", "control", "name"),
    [
        (HASH, False, "hash"),
        (CREATE, True, "create_session"),
        (int(ControlOpcode.MAC_DESTROY_SESSION).to_bytes(4, "little"), True, "destroy_session"),
        (CREATE, False, OTHER),
        (b"\xff" * 4, False, OTHER),
        (b"", False, OTHER),
    ],
)
def test_names(request_bytes: bytes, control: bool, name: str) -> None:
    assert kind_of(memoryview(request_bytes), control=control) == name


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_of_a_session_is_not_its_last_byte(status: int) -> None:
    answer = memoryview(struct.pack("<QII", 5, status, 0))
    assert result_of(memoryview(CREATE), answer, 16, control=True) == (0, bool(status))


def test_the_data_of_an_operation() -> None:
    request = memoryview(HASH + bytes(20) + b"data" * 10)
    assert result_of(request, memoryview(bytes(33)), 33, control=False) == (40 + 32, False)
    assert result_of(request, memoryview(bytes(32) + b"\1"), 33, control=False) == (0, True)


@given(st.binary(), st.binary(min_size=1), st.booleans())
def test_any_request_that_was_answered(request: bytes, answer: bytes, control: bool) -> None:
    result = result_of(memoryview(request), memoryview(answer), len(answer), control=control)
    expected = max(0, len(request) - 24) + len(answer) - 1
    assert result.data_bytes == (0 if result.failed or control else expected)
