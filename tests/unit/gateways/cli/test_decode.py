# SPDX-License-Identifier: BSD-3-Clause
"""vofctl decode: what it prints of a file, and how it ends where it cannot."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import capture_files as files
from tests.support.capture_files import Talk
from tests.unit.decode import said
from tests.unit.decode.said import I2T, T2I
from tests.vectors import recordings
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.main import main
from vof.wire import blk
from vof.wire.constants import DeviceId
from vof.wire.dialect import V5

KEY = b"UNSPEAKABLE-KEY!"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs ``vofctl decode``: exit status, standard output, standard error."""

    def run(*words: object, data: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        try:
            status = main(["decode", *map(str, words)])
        except SystemExit as end:
            status = end.code  # type: ignore[assignment]
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def conversation() -> bytes:
    """Return a capture: a disk is attached, read, and its end of the control queue is closed."""
    control, queue = Talk(), Talk(from_port=40001)
    header = said.header(blk.RequestType.IN, 8)
    packets = control.opened()
    for direction, data in said.attached(V5, DeviceId.BLOCK):
        packets += control.says(direction, data)
    packets += [*queue.opened(), *queue.says(I2T, said.connect(V5, 0))]
    packets += queue.says(T2I, said.answered(V5, 7, 3))
    packets += queue.says(I2T, said.request(V5, 5, [header], [512, 1]))
    packets += queue.says(T2I, said.answer(V5, 5, 1, [512, 1], [b"data" * 128, b"\0"]))
    packets += control.says(T2I, said.answered(V5, 0xFFFE, 2))
    packets.append(control.closes(I2T))
    return files.pcap(files.times(packets))


LINES = """\
# begins 2023-11-14 22:13:20 UTC
   0.002000    0 ?       connection                  transport tcp, initiator 192.0.2.1:40000, target 192.0.2.2:15771
   0.003000    0 ctl   → connect                  7  queue control, dialect v5, ivqn vqn.uuid:an-initiator, tvqn a-target/a-disk
   0.004000    0 ctl   ← connect                  7  ok; device_instance_id 3  [1000 µs]
   0.005000    0 ctl   → get_device_id            1
   0.006000    0 ctl   ← get_device_id            1  ok; block  [1000 µs]
   0.009000    1 ?       connection                  transport tcp, initiator 192.0.2.1:40001, target 192.0.2.2:15771
   0.010000    1 vq0   → connect                  7  queue 0, device_instance_id 3, dialect v5, ivqn vqn.uuid:an-initiator, tvqn a-target/a-disk
   0.011000    1 vq0   ← connect                  7  ok; device_instance_id 3  [1000 µs]
   0.012000    1 vq0   → vq                       5  block IN sector 8, bytes 512; readable 16, writable 513
   0.013000    1 vq0   ← vq                       5  ok; device status OK; written 513  [1000 µs]
   0.014000    0 ctl   ← event config_change  65534  generation 2
   0.015000    0 ctl   → closed                      fin
"""  # noqa: E501


def test_lines_for_people(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "disk0.pcap"
    file.write_bytes(conversation())
    assert run(file) == (Exit.DONE, LINES, "")
    assert run("-", data=conversation()) == (Exit.DONE, LINES, "")


def test_one_connection(run: Run) -> None:
    _status, shown, _error = run("-", "--connection", "1", data=conversation())
    lines = LINES.splitlines(keepends=True)
    assert shown == "".join(line for line in lines if line[11:16] == "    1" or line[0] == "#")


def test_json(run: Run) -> None:
    _status, shown, _error = run("-", "-o", "json", data=conversation())
    found = [json.loads(line) for line in shown.splitlines()]
    assert len(found) == len(LINES.splitlines())
    assert found[10] == {
        "schema": 1,
        "type": "completion",
        "number": 14,
        "time": "1700000000.013000000",
        "connection": 1,
        "queue": 0,
        "direction": "t2i",
        "name": "vq",
        "command_id": 5,
        "answers": 13,
        "fields": {"status": 0, "command_id": 5, "length": 513, "in_length": 513},
        "decoded": {
            "status": {"value": 0, "name": "ok"},
            "written": 513,
            "answer": {"status": {"value": 0, "name": "OK"}},
        },
        "payload": {"bytes": 513, "missing": 0},
    }


def test_bytes(run: Run) -> None:
    _status, shown, _error = run("-", "--hex", "--connection", "1", data=conversation())
    rows = [line.strip() for line in shown.splitlines() if line.startswith(" " * 13)]
    request = rows.index(
        "000000  ff 0f 05 00 00 00 00 00 10 00 00 00 01 02 00 00  ................"
    )
    assert rows[request:] == [
        "000000  ff 0f 05 00 00 00 00 00 10 00 00 00 01 02 00 00  ................",
        "| 000000  00 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00  ................",
        "000000  00 00 05 00 00 00 00 00 01 02 00 00 01 02 00 00  ................",
        "| 000000  64 61 74 61 64 61 74 61 64 61 74 61 64 61 74 61  datadatadatadata",
        "| *",
        "| 000200  00                                               .",
    ]


def test_keys_are_not_shown_unless_asked_for(run: Run) -> None:
    secret = said.request(V5, 5, [bytes(20), KEY], [1])
    words = [(I2T, said.connect(V5, 0)), (T2I, said.answered(V5, 7)), (I2T, secret)]
    capture = files.pcap(files.times(files.talked(words)))
    _status, hidden, _error = run("-", "--hex", data=capture)
    _status, shown, _error = run("-", "--hex", "--keys", data=capture)
    digits = KEY[12:].hex(" ")
    assert digits in shown
    assert digits not in hidden
    assert "** ** ** **" in hidden
    _status, hidden, _error = run("-", "--hex", "-o", "json", data=capture)
    assert KEY.hex() not in hidden


def test_names_do_not_reach_the_terminal_as_they_are(run: Run) -> None:
    named = said.connect(V5).replace(said.TVQN.encode(), b"a\x1b[2J\x9b\n".ljust(15, b"z"))
    _status, shown, _error = run("-", data=files.pcap(files.times(files.talked([(I2T, named)]))))
    assert "tvqn a\\x1b[2J\\x9b\\nz" in shown
    assert "\x1b" not in shown


def test_a_recording(run: Run) -> None:
    status, shown, error = run(recordings.FOLDER / "vinitiator-rdma-rng.jsonl")
    assert (status, error) == (Exit.DONE, "")
    assert "← write vring" in shown
    assert shown.startswith("# what reads of 32, 7 and 64 bytes, transport rdma, ")


def test_what_is_wrong_stands_below(run: Run) -> None:
    capture = files.pcap(files.times(files.talked([(I2T, said.common(V5, "get_status"))])))
    _status, shown, _error = run("-", "--port", "15771", data=capture)
    assert f"{'':13}! it comes before the Connect\n" in shown


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"\x7fELF", "neither a capture (pcap, pcapng) nor a recording (JSON Lines)"),
        (conversation()[:20], "the capture is cut off before its first packet"),
        (conversation()[:-3], "the capture is cut off after packet 15"),
        (
            files.pcap([files.Made(b"", 0, 0)]).replace(bytes(8), b"\xff" * 8),
            "the capture is damaged where packet 1 should be",
        ),
        (files.section()[:4] + b"\xff" * 24, "the capture is damaged where packet 1 should be"),
        (
            b'{"transport": "tcp"}\n{"conn": 0, "dir"',
            "line 2 of the recording is not a JSON object",
        ),
        (
            b'{"transport": "tcp"}\n{"conn": 0, "dir": "up"}\n',
            "line 2 of the recording cannot be used: 'up' is not a valid Direction",
        ),
        (b'{"transport": "rdma"', "line 1 of the recording is not a JSON object"),
        (b"[" * 9000, "neither a capture (pcap, pcapng) nor a recording (JSON Lines)"),
        (b'{"a":' * 90000, "line 1 of the recording is not a JSON object"),
    ],
)
def test_files_that_cannot_be_used(run: Run, tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    status, _shown, error = run(file)
    assert (status, error) == (Exit.USAGE, f"vofctl: {file}: {expected}\n")


def test_no_file(run: Run, tmp_path: Path) -> None:
    status, shown, error = run(tmp_path / "none")
    assert (status, shown) == (Exit.FAILED, "")
    assert error == f"vofctl: {tmp_path / 'none'}: No such file or directory\n"
    assert run(tmp_path)[2] == f"vofctl: {tmp_path}: Is a directory\n"


@pytest.mark.parametrize("words", [["--port", "0"], ["--connection", "x"], ["--device", "net"]])
def test_options_that_cannot_be_used(run: Run, words: list[str]) -> None:
    status, _shown, error = run("-", *words, data=conversation())
    assert status == 2
    assert words[0] in error
