# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of a running vof-target: what initiators did, and what they were refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scraping import Scraped
from tests.support.scripted_target import wait_until
from tests.target.peer import FLUSH, IN, IOERR, OK, OUT, Association
from tests.target.process import TargetProcess, run
from vof.metrics.endpoint import Endpoint, listen

CONFIG = """
[target]
port = 0
metrics = {metrics}

[disk]
tvqn = a/disk
model = block
backend = driver=block-memory,size=1M,queues=2

[random]
tvqn = a/random
model = rng
backend = driver=rng-random
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "metrics.sock"


@pytest.fixture
def config(tmp_path: Path, place: Path) -> Path:
    path = tmp_path / "vtgt.conf"
    path.write_text(CONFIG.format(metrics=f"unix:{place}"), encoding="utf-8")
    return path


def test_what_initiators_do(config: Path, place: Path) -> None:
    with TargetProcess(config) as target:
        found = Scraped(str(place))
        assert found("vof_target_connections") == 0
        assert "vof_target_associations" in found.names
        with Association(target.address, "a/disk", queues=2) as association:
            first, second = association.queues
            for queue in (first, second):
                assert queue.request(OUT, 0, b"x" * 512) == (OK, b"")
                assert queue.request(IN, 0, room=1024)[0] == OK
            assert first.request(FLUSH)[0] == OK
            assert first.request(IN, 1 << 40, room=512)[0] == IOERR

            def all_counted() -> bool:
                return Scraped(str(place))("vof_target_requests_total", tvqn="a/disk") == 6

            # An answer is out a moment before it is counted.
            wait_until(all_counted, "the last request's count")
            found = Scraped(str(place))
            assert found("vof_target_associations", tvqn="a/disk") == 1
            assert found("vof_target_connections") == 3
            assert found("vof_target_queues", tvqn="a/disk", queue="1") == 1
            assert found("vof_target_requests_total", queue="0", type="read") == 2
            assert found("vof_target_requests_total", queue="1", type="read") == 1
            assert found("vof_target_request_bytes_total", type="read") == 2048
            assert found("vof_target_request_bytes_total", type="write") == 1024
            assert found("vof_target_request_errors_total", type="read", reason="failed") == 1
            assert found("vof_target_request_seconds_count", tvqn="a/disk", type="read") == 3
            # The size of a queue that is not there.
            assert association.control.try_control(0x1008, 9)[0]
        with Association(target.address, "a/random") as association:
            association.queue.send(b"\xff" * 16)
            assert association.queue.is_closed()
        wait_until(
            lambda: Scraped(str(place))("vof_target_connections") == 0, "the end of connections"
        )
        found = Scraped(str(place))
        assert found("vof_target_requests_total", tvqn="a/disk") == 6  # still
        assert found("vof_target_queues", tvqn="a/disk") == 0
        assert found("vof_events_total", event="violation", tvqn="a/random") == 1
        assert found("vof_events_total", event="connected", tvqn="a/disk") == 3
        assert found("vof_events_total", event="command-refused", tvqn="a/disk") == 1
        assert found("vof_info", program="vof-target") == 1
        assert target.stop() == 0
    assert not place.exists()


def test_a_port_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "vtgt.conf"
    path.write_text(CONFIG.format(metrics="127.0.0.1:0"), encoding="utf-8")
    with TargetProcess(path) as target:
        (line,) = [line for line in target.said if "metrics at" in line]
        assert Scraped(line.split()[-1])("vof_info") == 1


def test_of_a_demo(place: Path) -> None:
    with TargetProcess("--demo", "--port", "0", "--metrics", place) as target:
        assert f"vof-target: metrics at unix:{place}" in target.said
        assert Scraped(str(place))("vof_info", program="vof-target") == 1
        assert target.stop() == 0
    assert not place.exists()


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "vtgt.conf"
    with listen(Endpoint("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        path.write_text(CONFIG.format(metrics=place), encoding="utf-8")
        done = run(path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"vof-target: cannot listen on {place} for metrics: Address already")


def test_words_that_are_no_place(tmp_path: Path) -> None:
    path = tmp_path / "vtgt.conf"
    path.write_text(CONFIG.format(metrics="everywhere"), encoding="utf-8")
    done = run("--check", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "[target] metrics: 'everywhere' cannot be used: " in line
