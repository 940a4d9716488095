# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of the plugin, from a real nbdkit, while and after requests."""

from __future__ import annotations

from pathlib import Path

import nbd
import pytest

from tests.nbd.conftest import DISK, Served, nbdkit_for
from tests.nbd.nbdkit_process import run_nbdkit
from tests.support.scraping import Scraped
from tests.support.scripted_target import ScriptedTarget, wait_until
from vof.metrics.endpoint import Endpoint, listen

pytestmark = pytest.mark.nbdkit


@pytest.mark.parametrize("daemon", [False, True])
def test_requests_are_counted(served: Served, tmp_path: Path, daemon: bool) -> None:
    place = tmp_path / "metrics.sock"
    with served.nbdkit(DISK, f"metrics={place}", daemon=daemon) as nbdkit:
        with nbdkit.client() as client:
            client.pwrite(b"x" * 4096, 0)
            for _ in range(10):
                client.pread(8192, 0)
            client.pread(100, 1)  # not whole blocks
            client.flush()
            now = Scraped(str(place))
            assert now("vof_sessions", tvqn=DISK) == 1
            assert now("vof_queues", tvqn=DISK, queue="control") == 1
            assert now("vof_queue_size", tvqn=DISK, queue="0") == 256
            assert now("vof_in_flight", tvqn=DISK) == 0
        wait_until(lambda: Scraped(str(place))("vof_sessions") == 0, "the end of the session")
        # What was done is still there, and so it is in a second session.
        with nbdkit.client() as client:
            client.pread(512, 0)
            after = Scraped(str(place))
        assert now("vof_requests_total", type="read") == 11
        assert after("vof_requests_total", tvqn=DISK, type="read") == 12
        assert after("vof_request_bytes_total", type="read") == 10 * 8192 + 512 + 512
        assert after("vof_request_bytes_total", type="write") == 4096
        assert after("vof_requests_total", type="flush") == 1
        assert after("vof_request_seconds_count", tvqn=DISK, type="read") == 12
        assert after("vof_request_seconds_bucket", type="read", le="+Inf") == 12
        assert after("vof_request_seconds_sum", type="read") > 0
        assert after("vof_request_errors_total") == 0
        assert after("vof_control_commands_total", command="get_device_id") >= 2
        assert after("vof_network_bytes_total", queue="0", direction="received") > 10 * 8192
        assert after("vof_events_total", event="opened", tvqn=DISK) == 2
        assert after("vof_info", program="nbdkit-vof-plugin") == 1
    assert not place.exists()


def test_a_session_that_is_lost(scripted: ScriptedTarget, tmp_path: Path) -> None:
    place = tmp_path / "metrics.sock"
    tvqn = scripted.device.tvqn
    with nbdkit_for(scripted, f"metrics=unix:{place}") as nbdkit:
        with nbdkit.client() as client:
            client.pread(512, 0)
            for connection in list(scripted.connections):
                connection.close()
            with pytest.raises(nbd.Error):
                client.pread(512, 0)
            found = Scraped(str(place))
            assert found("vof_sessions") == 0
            assert found("vof_events_total", event="lost", tvqn=tvqn) == 1
        assert "event=lost" in nbdkit.log


def test_a_place_that_is_taken_is_told_before_anything_is_served(served: Served) -> None:
    with listen(Endpoint("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_nbdkit(f"tport={served.port}", f"tvqn={DISK}", f"metrics={place}")
    assert done.returncode == 1
    assert f"cannot listen on {place} for metrics: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_words_that_are_no_place(served: Served) -> None:
    done = run_nbdkit(f"tport={served.port}", f"tvqn={DISK}", "metrics=9100")
    assert done.returncode == 1
    assert "metrics=9100: not ADDR:PORT or unix:/PATH" in done.stderr
