# SPDX-License-Identifier: BSD-3-Clause
"""Where metrics are served: the words for it, and sockets that are in the way."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import ConfigError, ConnectError, VofError
from vof.metrics.endpoint import FORM, NOWHERE, Endpoint, connect, listen, remove


@pytest.mark.parametrize(
    ("text", "endpoint", "again"),
    [
        ("127.0.0.1:9100", Endpoint("127.0.0.1", 9100), "127.0.0.1:9100"),
        ("[::1]:0", Endpoint("::1", 0), "[::1]:0"),
        ("host.name:65535", Endpoint("host.name", 65535), "host.name:65535"),
        ("unix:/run/vof/m", Endpoint(path="/run/vof/m"), "unix:/run/vof/m"),
        ("/run/vof/m", Endpoint(path="/run/vof/m"), "unix:/run/vof/m"),
    ],
)
def test_the_forms(text: str, endpoint: Endpoint, again: str) -> None:
    assert Endpoint.parse("metrics", text) == endpoint
    assert str(endpoint) == again


def test_a_relative_path_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Endpoint.parse("metrics", "./m").path == str(tmp_path / "m")
    assert Endpoint.parse("metrics", "unix:m").path == str(tmp_path / "m")


@pytest.mark.parametrize(
    "text",
    ["", "9100", ":9100", "host:", "host:-1", "host:x", "::1:9100", "[]:1", "unix:",
     "unix:/", "/tmp/a\0b", "a b:٣", "a..b:1", "\udcff:1", f"{'x' * 64}:1", "tcp://host:1"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="metrics=") as caught:
        Endpoint.parse("metrics", text)
    assert FORM in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host:65536", "port 65536 is not from 0 to 65535"),
        ("[fe80::1]:9100", "needs its interface"),
        ("[fe80::1%none]:9100", "names an interface that is not here"),
    ],
)
def test_ports_and_interfaces_there_are_not(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Endpoint.parse("metrics", text)


def test_a_name_too_long_for_a_socket() -> None:
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        Endpoint.parse("metrics", "/" + "x" * 107)


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        endpoint = Endpoint.parse("metrics", text)
    except ConfigError:
        return
    assert endpoint != NOWHERE
    assert Endpoint.parse("metrics", str(endpoint)) == endpoint


def test_a_port_that_is_taken() -> None:
    with listen(Endpoint("127.0.0.1", 0)) as first:
        taken = Endpoint(*first.getsockname())
        with pytest.raises(VofError, match=rf"cannot listen on {taken} .*: Address already in use"):
            listen(taken)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(VofError, match=r"cannot listen on no\.such\.invalid:1 for metrics"):
        listen(Endpoint("no.such.invalid", 1))


def test_a_socket_is_for_owner_and_group_and_goes_with_its_program(tmp_path: Path) -> None:
    place = tmp_path / "m"
    endpoint = Endpoint(path=str(place))
    with listen(endpoint):
        assert place.stat().st_mode & 0o777 == 0o660
        with connect(endpoint, 1.0):
            pass
    remove(endpoint)
    remove(endpoint)
    assert not place.exists()
    with pytest.raises(ConnectError, match="cannot read metrics from unix:"):
        connect(endpoint, 1.0)


def test_a_socket_that_was_left_behind_is_taken_over(tmp_path: Path) -> None:
    endpoint = Endpoint(path=str(tmp_path / "m"))
    listen(endpoint).close()
    with listen(endpoint), connect(endpoint, 1.0):
        pass


def test_a_socket_in_use_is_not(tmp_path: Path) -> None:
    endpoint = Endpoint(path=str(tmp_path / "m"))
    with listen(endpoint):
        with pytest.raises(VofError, match="Address already in use"):
            listen(endpoint)
        with connect(endpoint, 1.0) as still:
            assert still.family == socket.AF_UNIX


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "m"
    place.write_text("precious", encoding="utf-8")
    with pytest.raises(VofError, match="a file that is no socket is there"):
        listen(Endpoint(path=str(place)))
    assert place.read_text(encoding="utf-8") == "precious"
