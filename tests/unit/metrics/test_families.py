# SPDX-License-Identifier: BSD-3-Clause
"""What was counted, as Prometheus' own parser reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from vof import logline
from vof.counts import LATENCY_BUCKETS, Count
from vof.logline import Event
from vof.metrics.endpoint import Endpoint
from vof.metrics.exposition import Exposition
from vof.metrics.families import QueueCounts, common_families, request_families, type_of

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Given(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def read(families: Iterable[Metric]) -> Found:
    """Return every sample, after a way through the text."""
    registry = CollectorRegistry()
    registry.register(Given(families))
    text = generate_latest(registry).decode()
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "a series twice"
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


numbers = st.integers(0, 1 << 40)
counts = st.builds(
    Count,
    requests=numbers,
    data_bytes=numbers,
    refused=st.integers(0, 9),
    failed=st.integers(0, 9),
    lost=st.integers(0, 9),
    seconds=st.floats(0, 1e6),
    latencies=st.integers(0, (1 << 2 * LATENCY_BUCKETS) - 1).map(
        lambda bits: tuple(bits >> 2 * place & 3 for place in range(LATENCY_BUCKETS))
    ),
)


@given(
    st.dictionaries(
        st.tuples(st.text(max_size=5), st.sampled_from("012")),
        st.dictionaries(st.sampled_from(["VIRTIO_BLK_T_IN", "VIRTIO_BLK_T_FLUSH", "hash"]), counts),
        max_size=4,
    )
)
def test_nothing_is_lost_on_the_way(
    work: dict[tuple[str, str], dict[str, Count]],
) -> None:
    found = read(
        request_families("vof", [QueueCounts(*place, each) for place, each in work.items()])
    )
    for (tvqn, queue), each in work.items():
        for kind, count in each.items():
            labels = {"tvqn": tvqn, "queue": queue, "type": type_of(kind)}
            assert found[key("vof_requests_total", **labels)] == count.requests
            moved = found.get(key("vof_request_bytes_total", **labels))
            assert moved == (None if kind == "VIRTIO_BLK_T_FLUSH" else count.data_bytes)
            for reason in ("failed", "refused", "lost"):
                number = found.get(key("vof_request_errors_total", **labels, reason=reason), 0)
                assert number == getattr(count, reason)
    for tvqn, kind in {(tvqn, kind) for (tvqn, _), each in work.items() for kind in each}:
        ours = [each[kind] for (name, _), each in work.items() if name == tvqn and kind in each]
        total = sum(sum(count.latencies) for count in ours)
        labels = {"tvqn": tvqn, "type": type_of(kind)}
        assert found.get(key("vof_request_seconds_count", **labels), 0) == total
        assert found.get(key("vof_request_seconds_bucket", **labels, le="+Inf"), 0) == total
        if total:
            below = found[key("vof_request_seconds_bucket", **labels, le="0.000008")]
            assert below == sum(sum(count.latencies[:2]) for count in ours)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("VIRTIO_BLK_T_IN", "read"),
        ("VIRTIO_BLK_T_OUT", "write"),
        ("VIRTIO_BLK_T_WRITE_ZEROES", "write_zeroes"),
        ("aead_encrypt", "aead_encrypt"),
    ],
)
def test_types(kind: str, name: str) -> None:
    assert type_of(kind) == name


def test_events_and_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = 'a"b\\c\n'
    monkeypatch.setattr(logline, "_counts", {Event("violation", hostile): 3, Event("x", ""): 1})
    found = read(common_families("program"))
    assert found[key("vof_events_total", event="violation", tvqn=hostile)] == 3
    assert found[key("vof_events_total", event="x", tvqn="")] == 1
    ((_name, labels),) = [each for each in found if each[0] == "vof_info"]
    assert ("program", "program") in labels


def test_an_exposition_takes_its_socket_along(tmp_path: Path) -> None:
    place = tmp_path / "m"
    exposition = Exposition(Endpoint(path=str(place)), "program", lambda: ())
    assert place.exists()
    assert b'vof_info{program="program"' in exposition.text()
    assert b"process_resident_memory_bytes" in exposition.text()
    exposition.start()
    exposition.stop()
    assert not place.exists()
