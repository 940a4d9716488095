# SPDX-License-Identifier: BSD-3-Clause
"""vofctl top: what it makes of metrics, and of places that serve something else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.loopback import Background
from vof.counts import Tally
from vof.errors import ConnectError
from vof.gateways.attach.state import Record, StateFolder
from vof.gateways.cli import scrape as scraping
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.main import main
from vof.gateways.cli.scrape import Sample, scrape
from vof.gateways.cli.top_view import View, describe, show
from vof.metrics.endpoint import Endpoint, listen
from vof.metrics.exposition import Exposition
from vof.metrics.families import QueueCounts, gauge, request_families


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def place(tmp_path: Path, tally: Tally) -> Iterator[str]:
    """Where a program's metrics are, of which ``tally`` counts."""

    def collect() -> Iterator[object]:
        yield gauge("vof_sessions", "Sessions.", ("tvqn",), {("a/disk",): 1})
        yield from request_families("vof", [QueueCounts("a/disk", "0", tally.counts())])

    path = tmp_path / "m"
    exposition = Exposition(Endpoint(path=str(path)), "program", collect)  # type: ignore[arg-type]
    exposition.start()
    yield str(path)
    exposition.stop()


class Liar:
    """Answers one connection with what it was given."""

    def __init__(self, answer: bytes, *, then_wait: bool = False) -> None:
        self._listener = listen(Endpoint("127.0.0.1", 0))
        self.endpoint = Endpoint(*self._listener.getsockname())
        self._answer = answer
        self._then_wait = then_wait
        self._work = Background(self._serve)

    def _serve(self) -> None:
        sock, _address = self._listener.accept()
        with sock:
            sock.recv(4096)
            sock.sendall(self._answer)
            if self._then_wait:
                sock.recv(1)
            else:
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)

    def __enter__(self) -> Endpoint:
        return self.endpoint

    def __exit__(self, *_exc: object) -> None:
        self._work.result()
        self._listener.close()


def test_once(place: str, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        tally.answered("VIRTIO_BLK_T_IN", 0.001, 4096)
    tally.answered("VIRTIO_BLK_T_OUT", 0.5, 1 << 30, failed=True)
    tally.answered("VIRTIO_BLK_T_FLUSH", 20.0, 0)
    assert main(["top", place]) == Exit.DONE
    first, about, *lines = capsys.readouterr().out.splitlines()
    assert first == f"unix:{place}"
    assert about.startswith("program ")
    assert about.endswith(": 1 sessions")
    table = [line for line in lines if not line.startswith("events: ")]
    assert [line.split() for line in table] == [
        ["DEVICE", "TYPE", "REQUESTS", "BYTES", "ERRORS", "MEAN", "P50", "P99"],
        ["a/disk", "flush", "1", "0", "0", "20s", ">16s", ">16s"],
        ["a/disk", "read", "3", "12.3k", "0", "1ms", "1.02ms", "1.02ms"],
        ["a/disk", "write", "1", "1074M", "1", "500ms", "524ms", "524ms"],
    ]


PROGRAM_KEYS = {"place", "disk", "error", "program", "now", "events", "requests"}
"""Of a program in `top -o json`: keys may be added, and none goes or changes its meaning."""


def test_as_json(
    place: str, tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally.answered("VIRTIO_BLK_T_IN", 0.001, 4096)
    tally.answered("VIRTIO_BLK_T_FLUSH", 20.0, 0, failed=True)
    assert main(["top", "-o", "json", place, str(tmp_path / "gone")]) == Exit.UNREACHABLE
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"schema", "programs"}
    assert shown["schema"] == 1
    found, gone = shown["programs"]
    assert set(found) == PROGRAM_KEYS
    assert (found["place"], found["disk"], found["error"]) == (f"unix:{place}", None, None)
    assert found["program"].startswith("program ")
    assert found["now"] == {"sessions": 1}
    one = {"tvqn": "a/disk", "requests": 1}
    assert found["requests"] == [
        {
            **one,
            "type": "flush",
            "bytes": 0,
            "errors": 1,
            "latency_us": {"mean": 20e6, "p50": None, "p99": None},
        },
        {
            **one,
            "type": "read",
            "bytes": 4096,
            "errors": 0,
            "latency_us": {"mean": 1000.0, "p50": 1024.0, "p99": 1024.0},
        },
    ]
    assert set(gone) == {"place", "disk", "error"}
    assert gone["error"].startswith(f"cannot read metrics from unix:{tmp_path}/gone: ")


def test_attached_disks_without_a_place(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those whose supervisor lives."""
    folder = StateFolder(tmp_path / "state")
    words = ["top", "-o", "json", "--state-dir", str(folder.path)]
    claims = {name: folder.claim(name, name, f"a/{name}", "h:1") for name in ("disk", "stale")}
    for name, claim in claims.items():
        claim.write(Record(name, f"a/{name}", "h:1", "connected", metrics=f"unix:{place}"))
    os.close(claims["stale"]._lock)
    assert main(words) == Exit.DONE
    [found] = json.loads(capsys.readouterr().out)["programs"]
    assert (found["disk"], found["place"]) == ("disk", f"unix:{place}")
    assert main([*words[:1], *words[3:]]) == Exit.DONE
    assert capsys.readouterr().out.startswith(f"disk at unix:{place}\n")
    claims["disk"].release()
    assert main(words) == Exit.NOT_FOUND
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 1)
    assert "no disk is attached" in shown.err


def test_rates_are_of_what_came_between(place: str, tally: Tally) -> None:
    tally.answered("VIRTIO_BLK_T_IN", 1.0, 1000)
    before = View.of(scrape(Endpoint.parse("place", place)))
    for _ in range(10):
        tally.answered("VIRTIO_BLK_T_IN", 0.000004, 512)
    now = View.of(scrape(Endpoint.parse("place", place)))
    *_about, headings, row = show(now, before, 2.0)
    assert headings.split()[2:5] == ["REQ/S", "BYTES/S", "ERR/S"]
    assert row.split() == ["a/disk", "read", "5", "2560", "0", "4us", "4us", "4us"]
    *_about, row = show(now, now, 2.0)
    assert row.split() == ["a/disk", "read", "0", "0", "0", "-", "-", "-"]


def test_a_program_that_has_begun_anew(tally: Tally) -> None:
    name = "vof_requests_total"
    before = View.of([Sample(name, {"tvqn": "a", "type": "read"}, 100.0)])
    now = View.of([Sample(name, {"tvqn": "a", "type": "read"}, 4.0)])
    *_about, row = show(now, before, 1.0)
    assert row.split()[2] == "4"


def test_names_stay_on_their_line() -> None:
    hostile = "a\n\x1b[2Jb"
    view = View.of(
        [
            Sample("vof_requests_total", {"tvqn": hostile, "type": hostile}, 1.0),
            Sample("vof_events_total", {"event": hostile}, 1.0),
            Sample("vof_info", {"program": hostile, "version": hostile}, 1.0),
        ]
    )
    assert all(line.isprintable() for line in show(view))


labels = st.dictionaries(st.sampled_from(["tvqn", "type", "le", "event", "queue"]), st.text())
samples = st.builds(
    Sample,
    st.sampled_from(
        ["vof_requests_total", "vof_request_seconds_bucket", "vof_request_seconds_sum", "x",
         "vof_in_flight", "vof_target_request_bytes_total"]
    ),
    labels.map(lambda found: found | {"le": "1.0"}),
    st.floats(),
)  # fmt: skip


@given(st.lists(samples), st.lists(samples))
def test_any_numbers_can_be_shown(one: list[Sample], other: list[Sample]) -> None:
    before, now = View.of(one), View.of(other)
    json.dumps(describe(now), allow_nan=False)
    for lines in (show(now), show(now, before, 1.0)):
        assert all(line.isprintable() for line in lines)


def test_a_place_where_nobody_is(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are shown all the same."""
    gone = tmp_path / "gone"
    assert main(["top", str(gone), place]) == Exit.UNREACHABLE
    shown = capsys.readouterr()
    assert shown.out.startswith(f"unix:{place}\n")
    assert shown.err.startswith(f"vofctl: cannot read metrics from unix:{gone}: ")
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["top", "9100"], "PLACE=9100: not ADDR:PORT"),
        (["top", "-n", "0", "/m"], "--interval=0: not a number of seconds from 0.1 to 3600"),
        (["top", "-n", "nan", "/m"], "--interval=nan: not a number"),
    ],
)
def test_words_that_cannot_be_used(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == Exit.USAGE
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "it answers ''"),
        (b"SSH-2.0-x\r\n", "it answers 'SSH-2.0-x'"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "it answers 'HTTP/1.1 404 Not Found'"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", "its text cannot be read"),
        (b"HTTP/1.1 200 OK\r\n\r\n{{{", "its text cannot be read"),
    ],
)
def test_what_is_no_metrics(answer: bytes, text: str) -> None:
    with Liar(answer) as endpoint, pytest.raises(ConnectError) as caught:
        scrape(endpoint)
    assert text in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@given(body=st.binary(max_size=300))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer(body: bytes) -> None:
    with Liar(b"HTTP/1.1 200 OK\r\n\r\n" + body) as endpoint:
        wrong = ""
        try:
            list(show(View.of(scrape(endpoint))))
        except ConnectError as error:
            wrong = str(error)
    assert len(wrong.splitlines()) <= 1


def test_an_answer_that_does_not_end() -> None:
    with (
        Liar(b"HTTP/1.1 200 OK\r\n\r\n", then_wait=True) as endpoint,
        pytest.raises(ConnectError, match="no answer in time"),
    ):
        scrape(endpoint, timeout=0.05)


def test_an_answer_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "MAX_SIZE", 1000)
    with (
        Liar(b"HTTP/1.1 200 OK\r\n\r\n" + b"#" * 2000) as endpoint,
        pytest.raises(ConnectError, match="more than 1000 bytes"),
    ):
        scrape(endpoint)
