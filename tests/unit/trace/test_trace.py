# SPDX-License-Identifier: BSD-3-Clause
"""The trace of a session, at both ends, beside what `vofctl decode` says of the same bytes.

And what becomes of what cannot be followed, or written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from io import BufferedReader, BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fault_proxy import Direction as Way
from tests.support.fault_proxy import FaultProxy
from tests.unit.decode import said
from vof.decode.message import Direction
from vof.decode.source import Assumptions, decode
from vof.decode.stream import StreamConnection
from vof.decode.text import Text
from vof.drivers.block import BlockDriver
from vof.errors import ConfigError, VofError
from vof.implementation import VARIABLE
from vof.initiator.parameters import SessionParameters
from vof.target.config import parse
from vof.target.server import Target
from vof.trace.initiator import InitiatorTaps
from vof.trace.place import LOG, MAX_LINE, parse_place, writer
from vof.trace.target import TargetTaps
from vof.trace.trace import Tap, Trace, open_trace
from vof.wire.dialect import V5

CONFIG = """
[target]
port = 0
[disk]
tvqn = a/disk
model = block
backend = driver=block-memory,size=1M,serial=of-a-test
"""

_LATENCY = re.compile(r" +\[\d+ µs\]$")
_MARGIN = 13


class Recorder(FaultProxy):
    """Keeps what passes, as a recording has it."""

    def __init__(self, target_port: int) -> None:
        self._order = threading.Lock()
        self._lines: list[dict[str, object]] = [{"transport": "tcp"}]
        super().__init__(target_port)

    def _replace(self, pair: object, direction: Way, place: int, data: bytearray) -> None:
        way = "i2t" if direction is Way.TO_TARGET else "t2i"
        with self._order:
            number = pair.number  # type: ignore[attr-defined]
            self._lines.append({"conn": number, "dir": way, "hex": data.hex()})

    def recording(self) -> BufferedReader:
        text = "\n".join(map(json.dumps, self._lines))
        return BufferedReader(BytesIO(text.encode()))


def told(lines: Iterable[str]) -> list[str]:
    """Return the commands, completions and problems, without time and latency."""
    bare = [_LATENCY.sub("", line[_MARGIN:]) for line in lines]
    return [line for line in bare if re.search("[→←!]", line) and " closed " not in line]


def decoded(file: BufferedReader) -> list[str]:
    text = Text(with_bytes=False, with_keys=False)
    return told(
        line for message in decode(file, Assumptions()) for line in text.show(message).splitlines()
    )


@pytest.fixture(autouse=True)
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace sets it for the process."""
    monkeypatch.setenv(VARIABLE, "python")


@pytest.mark.parametrize("dialect", ["proposal", "v2", "v5", "auto"])
def test_a_session(dialect: str) -> None:
    """Large requests are there, which neither end sends or receives in one go."""
    ours: list[str] = []
    theirs: list[str] = []
    trace = Trace(theirs.append)
    with (
        Target(parse(CONFIG, "a.conf"), TargetTaps(trace)) as target,
        Recorder(target.port) as recorder,
    ):
        parameters = SessionParameters(
            tvqn="a/disk",
            tport=recorder.port,
            dialect=dialect,
            timeout=20.0,
            taps=InitiatorTaps(Trace(ours.append)),
        )
        driver = BlockDriver.open(parameters, 1)
        data = memoryview(bytearray(b"not to be seen, " * (1 << 14)))
        for start in (driver.start_write, driver.start_read):
            request = start(0, data)
            assert request is not None
            driver.finish(request)
        driver.flush()
        driver.get_id()
        driver.close()
    expected = decoded(recorder.recording())
    assert any("block GET_ID" in line for line in expected)
    assert sum("→" in line for line in expected) > 20
    assert told(ours) == expected
    assert told(theirs) == expected
    assert sum(" closed " in line for line in ours) >= 2
    assert "not to be seen" not in "".join(ours + theirs)


def test_nothing_of_it_is_there_where_nobody_asked() -> None:
    code = (
        "import sys, vof.gateways.nbd.plugin, vof.gateways.fuse.cli, vof.target.cli\n"
        "print([name for name in sys.modules if name.startswith(('vof.decode', 'vof.trace.'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "['vof.trace.place']\n"


def opened(lines: list[str]) -> Tap:
    return Trace(lines.append).stream("an-initiator:1", "a-target:2", Direction.I2T)


pieces = st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=8)


@given(pieces)
def test_whatever_passes(passing: list[tuple[bool, bytes]]) -> None:
    lines: list[str] = []
    for make in (Trace(lines.append).stream, Trace(lines.append).keyed):
        tap = make("i", "t", Direction.T2I)
        tap.received(said.connect(V5))
        for ours, data in passing:
            (tap.sent if ours else tap.received)(data)
        tap.closed()
    assert all(line.isprintable() and len(line) <= MAX_LINE for line in lines)


def test_a_line_has_bounds() -> None:
    lines: list[str] = []
    tap = opened(lines)
    name = b"\xff" * 255 + b"\0"
    tap.sent(said.connect(V5)[:-1024] + (name + name).ljust(1024, b"\0"))
    assert max(map(len, lines)) == MAX_LINE
    assert next(line for line in lines if len(line) == MAX_LINE).endswith("…")


def test_a_connection_that_cannot_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("a mistake\nof ours")

    lines: list[str] = []
    tap = opened(lines)
    before = len(lines)
    monkeypatch.setattr(StreamConnection, "data", fail)
    for _ in range(3):
        tap.sent(said.connect(V5))
    tap.closed()
    (line,) = lines[before:]
    assert line.startswith("connection 0 is not followed: RuntimeError")


def test_a_trace_and_the_native_path_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "native")
    with pytest.raises(ConfigError, match="VOF_FABRIC=native, but a trace takes the data path in"):
        open_trace(LOG)


# Where it goes


@pytest.mark.parametrize(
    ("value", "place"), [("yes", LOG), ("no", ""), ("/a/b", "/a/b"), ("./b", f"{Path.cwd()}/b")]
)
def test_places(value: str, place: str) -> None:
    assert parse_place("trace", value) == place


@pytest.mark.parametrize("value", ["", "on", "a-file", "/a/", "/a\0b"])
def test_what_is_no_place(value: str) -> None:
    with pytest.raises(ConfigError, match="not yes, no, or a file's path with a slash"):
        parse_place("trace", value)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for line in ("one", "two → \ud800"):
        writer(str(path))(line)
    assert path.read_text(encoding="utf-8") == "one\ntwo → \\ud800\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(VofError, match=f"cannot write the trace to {tmp_path}/no/t: No such file"):
        writer(f"{tmp_path}/no/t")


def test_a_disk_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    write = writer("/dev/full")
    for _ in range(3):
        write("a line")
    (record,) = caplog.records
    assert "event=trace-ended" in record.getMessage()
    assert "No space left on device" in record.getMessage()
