# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of a mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuse.conftest import MakeMount
from tests.fuse.mounting import vof_mount
from tests.support.scraping import Scraped
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng
from vof.metrics.endpoint import Endpoint, listen

pytestmark = pytest.mark.fuse


def test_reads_are_counted(mount: MakeMount, rng: ScriptedRng, tmp_path: Path) -> None:
    place = tmp_path / "metrics.sock"
    made = mount(RNG_TVQN, tport=rng.port, metrics=place)
    with (made / "rng0/random").open("rb", buffering=0) as file:
        assert len(file.read(4096)) > 0
    found = Scraped(str(place))
    assert found("vof_sessions", tvqn=RNG_TVQN) == 1
    assert found("vof_requests_total", tvqn=RNG_TVQN, type="read") > 0
    assert found("vof_request_bytes_total", type="read") > 0
    assert found("vof_events_total", event="opened", tvqn=RNG_TVQN) == 1
    assert found("vof_info", program="vof-mount") == 1
    made.unmount()
    assert not place.exists()


def test_a_place_that_is_taken(folder: Path, rng: ScriptedRng) -> None:
    with listen(Endpoint("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = vof_mount("-o", f"tport={rng.port},metrics={place}", RNG_TVQN, str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith(f"vof-mount: cannot listen on {place} for metrics: ")
    assert len(done.stderr.splitlines()) == 1
