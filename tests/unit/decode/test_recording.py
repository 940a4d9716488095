# SPDX-License-Identifier: BSD-3-Clause
"""Lines of recordings, and what cannot be one."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.decode.message import Direction, Where
from vof.decode.recording import Line, is_recording, read_recording
from vof.errors import ConfigError

ABOUT = {"what": "a test", "transport": "rdma", "bytes": 5, "truncated": False}


def read(*lines: object) -> list[Line]:
    text = "\n".join(json.dumps(line) for line in (ABOUT, *lines))
    about, found = read_recording(io.BytesIO(text.encode()))
    assert about == {"what": "a test", "transport": "rdma"}
    return list(found)


def test_lines() -> None:
    assert read(
        {"conn": 1, "dir": "i2t", "hex": "00ff"},
        {"conn": 2, "dir": "t2i", "op": "WRITE", "remote_addr": 5, "rkey": 6, "len": 1,
         "hex": "aa"},
        {"conn": 1, "dir": "i2t", "event": "fin"},
        {"conn": 0, "event": "no answer"},
        {"conn": 0, "note": "a note"},
        {"probe": "a probe"},
    ) == [
        Line(Where(2), 1, Direction.I2T, b"\0\xff"),
        Line(Where(3), 2, Direction.T2I, b"\xaa", "WRITE", remote_addr=5, rkey=6, length=1),
        Line(Where(4), 1, Direction.I2T, b"", event="fin"),
        Line(Where(5), 0, None, b"", event="no answer"),
        Line(Where(6), 0, None, b"", note="a note"),
        Line(Where(7), None, None, b"", note="a probe", begins=True),
    ]  # fmt: skip


def test_empty_lines_are_passed_over() -> None:
    text = json.dumps(ABOUT) + "\n\n" + json.dumps({"conn": 0}) + "\n"
    _about, lines = read_recording(io.BytesIO(text.encode()))
    assert [line.where.number for line in lines] == [3]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"conn": 0, "dir": "sideways"}, "line 2 of the recording cannot be used: 'sideways'"),
        ({"conn": 0, "dir": "i2t", "hex": "0"}, "line 2 of the recording cannot be used"),
        ({"conn": "x"}, "line 2 of the recording cannot be used: a number is none"),
        ({"conn": 0, "hex": 5}, "line 2 of the recording cannot be used"),
        ([], "line 2 of the recording is not a JSON object"),
    ],
)
def test_lines_that_cannot_be_used(line: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(line)
    assert str(caught.value).startswith(expected)


def test_first_lines_that_cannot_be() -> None:
    for text, expected in (
        (b"{}", "not a recording: its first line names no transport"),
        (b'{"transport": "pigeon"}', "not a recording: its first line names no transport"),
        (b"{nonsense", "line 1 of the recording is not a JSON object"),
        (b'{"transport": "tcp"}\n{half', "line 2 of the recording is not a JSON object"),
    ):
        with pytest.raises(ConfigError, match=expected):
            list(read_recording(io.BytesIO(text))[1])


def test_is_recording() -> None:
    assert is_recording(b'{"wh')
    assert is_recording(b'\n {"w')
    for other in (b"", b"text", b"[{}]"):
        assert not is_recording(other)


values = st.none() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
keys = st.sampled_from(["conn", "dir", "hex", "op", "event", "note", "probe", "rkey", "len"])


@given(st.lists(st.dictionaries(keys, values, max_size=5), max_size=4))
def test_whatever_is_in_the_lines(lines: list[dict[str, object]]) -> None:
    try:
        read(*lines)
    except ConfigError:
        pass
