# SPDX-License-Identifier: BSD-3-Clause
"""What an address may look like, and what is said of one that cannot be."""

from __future__ import annotations

import socket

import pytest

from vof.addresses import parse_address

GOOD = [
    ("192.0.2.7", "192.0.2.7"),
    ("::1", "::1"),
    ("[::1]", "::1"),
    ("storage1.example", "storage1.example"),
    ("b\u00fccher.example", "b\u00fccher.example"),
    ("fe80::1%eth7", "fe80::1%eth7"),
    ("[fe80::1%eth7]", "fe80::1%eth7"),
    ("fe80::1%3", "fe80::1%3"),
]

BAD = [
    ("", "is empty; give an address or a host name"),
    (" ", "is not an address or a host name"),
    ("a\nb", "is not an address or a host name"),
    ("tcp://storage1", "is not an address or a host name"),
    ("a,b", "is not an address or a host name"),
    ("[::1", "is not an address or a host name"),
    ("[storage1]", "has brackets, which are for an IPv6 address"),
    (
        "storage1:15771",
        "has a port, which does not belong here; use taddr=storage1 and tport=15771",
    ),
    ("[::1]:7", "has a port, which does not belong here; use taddr=[::1] and tport=7"),
    ("storage1:", "has a port, which does not belong here; use taddr=storage1 and tport=PORT"),
    ("x" * 5000, "is 5000 characters long, more than any address or host name"),
    (
        "fe80::1",
        "is a link-local address, and needs its interface: fe80::1%INTERFACE, with one of eth7, lo",
    ),
    ("fe80::1%eth8", "names an interface that is not here; there are eth7, lo"),
]


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (3, "eth7")])


@pytest.mark.parametrize(("text", "address"), GOOD)
def test_taken(text: str, address: str) -> None:
    assert parse_address(text, "taddr", "tport") == address


@pytest.mark.parametrize(("text", "words"), BAD)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - all it says is compared
        parse_address(text, "taddr", "tport")
    assert str(caught.value) == words
