# SPDX-License-Identifier: BSD-3-Clause
"""Names at their limits, ours and a peer's."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import ConfigError, RemoteProtocolError
from vof.wire.names import check_name, decode_name, encode_name, random_ivqn


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "virtio-target/block/block0.service",
        "x" * 255,
        "é" * 127 + "x",  # 255 bytes
        "😀" * 63 + "abc",  # 255 bytes
        " ",
        "line\nbreak",
    ],
)
def test_names_that_can_be_sent(name: str) -> None:
    assert check_name("tvqn", name) is name
    field = encode_name(name)
    assert len(field) == 256
    assert field.rstrip(b"\0") == name.encode()
    assert decode_name(field) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "tvqn is empty"),
        ("x" * 256, "tvqn is 256 bytes long; at most 255"),
        ("é" * 128, "tvqn is 256 bytes long; at most 255"),
        ("x" * 254 + "é", "tvqn is 256 bytes long; at most 255"),
        ("😀" * 64, "tvqn is 256 bytes long; at most 255"),
        ("a\0b", "tvqn contains a NUL"),
        ("\0", "tvqn contains a NUL"),
        ("a\udc80", "tvqn is not valid UTF-8"),
    ],
)
def test_names_that_cannot_be_sent(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_name("tvqn", name)


def test_the_message_says_which_name() -> None:
    with pytest.raises(ConfigError, match="ivqn"):
        check_name("ivqn", "")


def test_padding_is_nul() -> None:
    assert encode_name("ab") == b"ab" + bytes(254)


def test_a_peer_may_fill_the_field_without_a_nul() -> None:
    assert decode_name(b"x" * 256) == "x" * 256


def test_what_follows_a_nul_is_ignored() -> None:
    assert decode_name(b"ab\0\xff\xfe".ljust(256, b"x")) == "ab"
    assert decode_name(bytes(256)) == ""


@pytest.mark.parametrize("field", [b"\xff" + bytes(255), b"x" * 255 + b"\xc3", b"\xc3\0\xa9"])
def test_a_peer_s_name_that_is_not_utf8(field: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        decode_name(field)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63))
def test_round_trip(name: str) -> None:
    assert decode_name(encode_name(check_name("tvqn", name))) == name


@given(st.binary(min_size=256, max_size=256))
def test_any_field_is_a_name_or_a_violation(field: bytes) -> None:
    try:
        name = decode_name(field)
    except RemoteProtocolError:
        return
    assert field.startswith(name.encode())


def test_random_ivqn() -> None:
    first, second = random_ivqn(), random_ivqn()
    assert first != second
    prefix, _, rest = first.partition(":")
    assert prefix == "vqn.uuid"
    assert uuid.UUID(rest).version == 4
    check_name("ivqn", first)
