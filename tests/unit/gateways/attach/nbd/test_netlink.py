# SPDX-License-Identifier: BSD-3-Clause
"""The messages to and from the kernel's nbd family, against a scripted kernel."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import ConfigError, VofError
from vof.gateways.attach.nbd.netlink import (
    Attribute,
    Command,
    NbdNetlink,
    attribute,
    attributes,
    sockets_attribute,
)

FAMILY = 0x21
GET_FAMILY = 3
ACK = struct.pack("=i16x", 0)

Answer = Callable[[int, int, bytes], list[tuple[int, bytes]]]


class ScriptedKernel:
    """A socket behind which a function answers: (family, command, attributes) -> messages."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: list[bytes] = []
        self.closed = False

    def bind(self, _address: tuple[int, int]) -> None: ...

    def close(self) -> None:
        self.closed = True

    def sendto(self, data: bytes, _address: tuple[int, int]) -> None:
        size, family, flags, sequence, _port = struct.unpack_from("=IHHII", data)
        assert size == len(data)
        assert flags == 5  # NLM_F_REQUEST | NLM_F_ACK
        command, version, _reserved = struct.unpack_from("=BBH", data, 16)
        assert version == 1
        for kind, content in self._answer(family, command, data[20:]):
            header = struct.pack("=IHHII", 16 + len(content), kind, 0, sequence, 0)
            self._waiting.append(header + content)

    def recv(self, _size: int) -> bytes:
        return self._waiting.pop(0)


def error(number: int) -> list[tuple[int, bytes]]:
    return [(2, struct.pack("=i16x", -number))]


def opened(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> NbdNetlink:
    """Return it over a kernel that has nbd, and answers its commands so."""

    def whole(family: int, command: int, payload: bytes) -> list[tuple[int, bytes]]:
        if family == 0x10:
            assert command == GET_FAMILY
            assert dict(attributes(payload)) == {2: b"nbd\0"}
            found = attribute(2, b"nbd\0") + attribute(1, struct.pack("=H", FAMILY))
            return [(0x10, struct.pack("=BBH", 1, 2, 0) + found), (2, ACK)]
        assert family == FAMILY
        return answer(family, command, payload)

    monkeypatch.setattr(socket, "socket", lambda *_arguments: ScriptedKernel(whole))
    return NbdNetlink()


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_come_back(parts: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in parts)
    assert list(attributes(data)) == parts
    assert len(data) % 4 == 0


@given(st.binary(max_size=64))
def test_any_bytes_are_attributes_or_refused(data: bytes) -> None:
    try:
        found = list(attributes(data))
    except VofError:
        return
    assert sum(4 + len(payload) for _kind, payload in found) <= len(data)


def test_sockets_are_laid_out_as_the_header_says() -> None:
    """linux/nbd-netlink.h: SOCKETS { SOCK_ITEM { SOCK_FD } SOCK_ITEM { SOCK_FD } }"""
    item = struct.pack("=HHHHI", 12, 1, 8, 1, 7)
    assert sockets_attribute([7, 7]) == struct.pack("=HH", 4 + 24, 7) + item + item


def test_connect_asks_for_all_and_tells_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, bytes] = {}

    def answer(family: int, command: int, payload: bytes) -> list[tuple[int, bytes]]:
        assert command == Command.CONNECT
        asked.update(attributes(payload))
        reply = struct.pack("=BBH", 1, 1, 0) + attribute(1, struct.pack("=I", 3))
        return [(family, reply), (2, ACK)]

    with opened(monkeypatch, answer) as kernel:
        found = kernel.connect(
            3,
            sockets=[],
            size=1 << 40,
            block_size=4096,
            flags=0x15,
            timeout=90,
            dead_timeout=91,
            identifier="vof:a:b",
        )
    assert found == 3
    number = struct.Struct("=Q")
    assert asked[Attribute.INDEX] == struct.pack("=I", 3)
    assert asked[Attribute.BACKEND_IDENTIFIER] == b"vof:a:b\0"
    assert [
        number.unpack(asked[key])[0]
        for key in (
            Attribute.SIZE_BYTES,
            Attribute.BLOCK_SIZE_BYTES,
            Attribute.SERVER_FLAGS,
            Attribute.TIMEOUT,
            Attribute.DEAD_CONN_TIMEOUT,
        )
    ] == [1 << 40, 4096, 0x15, 90, 91]


def test_no_index_is_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(family: int, _command: int, payload: bytes) -> list[tuple[int, bytes]]:
        assert Attribute.INDEX not in dict(attributes(payload))
        return [(2, ACK)]

    with opened(monkeypatch, answer) as kernel, pytest.raises(VofError, match="does not tell"):
        kernel.connect(
            None,
            sockets=[],
            size=512,
            block_size=512,
            flags=0,
            timeout=0,
            dead_timeout=0,
            identifier="",
        )


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EPERM, ConfigError, "root"),
        (errno.EBUSY, ConfigError, "in use"),
        (errno.EINVAL, VofError, "Invalid argument"),
    ],
)
def test_what_the_kernel_refuses(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[VofError], words: str
) -> None:
    with (
        opened(monkeypatch, lambda *_asked: error(number)) as kernel,
        pytest.raises(kind, match=rf"/dev/nbd2.*{words}") as raised,
    ):
        kernel.disconnect(2)
    assert raised.value.errno == number


def test_a_kernel_without_nbd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says how to get one, and what does without."""
    kernel = ScriptedKernel(lambda *_asked: error(errno.ENOENT))
    monkeypatch.setattr(socket, "socket", lambda *_arguments: kernel)
    with pytest.raises(ConfigError, match=r"modprobe nbd.*linux-image.*vof-mount") as raised:
        NbdNetlink()
    assert raised.value.errno == errno.ENODEV
    assert kernel.closed


def test_a_message_of_a_wrong_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedKernel, "recv", lambda _self, _size: struct.pack("=I12x", 4000))
    monkeypatch.setattr(socket, "socket", lambda *_arguments: ScriptedKernel(lambda *_asked: []))
    with pytest.raises(VofError, match="4000 bytes"):
        NbdNetlink()


def test_a_size_by_itself_and_with_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[int, bytes]] = []

    def answer(_family: int, command: int, payload: bytes) -> list[tuple[int, bytes]]:
        assert command == Command.RECONFIGURE
        asked.append(dict(attributes(payload)))
        return [(2, ACK)]

    with opened(monkeypatch, answer) as kernel:
        kernel.resize(3, 1 << 40, "vof:a:b")
        kernel.reconfigure(3, sockets=[], size=1 << 41, dead_timeout=91, identifier="vof:a:b")
    size = {
        Attribute.INDEX: struct.pack("=I", 3),
        Attribute.SIZE_BYTES: struct.pack("=Q", 1 << 40),
        Attribute.BACKEND_IDENTIFIER: b"vof:a:b\0",
    }
    assert asked[0] == size
    assert asked[1] == size | {
        Attribute.SIZE_BYTES: struct.pack("=Q", 1 << 41),
        Attribute.DEAD_CONN_TIMEOUT: struct.pack("=Q", 91),
        Attribute.SOCKETS: b"",
    }
