# SPDX-License-Identifier: BSD-3-Clause
"""What load generators print, good and bad."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.bench import load_generators
from tests.bench.load_generators import (
    Load,
    Workload,
    fabric_result,
    fio_load,
    iscsi_perf_rate,
    measure,
    milliseconds,
)
from tests.bench.processes import Unavailable

ISCSI_PERF = (
    "\nconnected to iscsi://127.0.0.1:13260/iqn.2026-01.vof:bench/1\n"
    "performing RANDOM READ with 32 parallel requests\nwill run for 2 seconds.\n\n"
    "\r00:00:01 - lba 90520, iops current 11306 (44 MB/s), iops average 11306 (44 MB/s)   "
    "\riops average 14424 (56 MB/s)             \n\nfinished.\n"
)


def job(requests: int, runtime: int, **more: Any) -> dict[str, Any]:
    idle = {"total_ios": 0, "runtime": 0}
    done = {"total_ios": requests, "runtime": runtime}
    shares = {"usr_cpu": 10.0, "sys_cpu": 30.0, "job_runtime": runtime}
    return {"error": 0, "read": done, "write": idle, **shares, **more}


def fio_text(*jobs: dict[str, Any], before: str = "") -> str:
    return before + json.dumps({"fio version": "fio-3.33", "jobs": jobs})


def test_fio() -> None:
    load = fio_load(fio_text(job(5000, 2000)), "read")
    assert load[:2] == (5000, 2.0)
    assert load.cpu == pytest.approx(0.8)


def test_fio_complains_before_its_result() -> None:
    assert fio_load(fio_text(job(1, 1000), before="fio: a remark\n"), "read").requests == 1


def test_fio_of_several_initiators() -> None:
    load = fio_load(fio_text(job(100, 2000), job(200, 2010)), "read")
    assert load.requests == 300
    assert load.seconds == 2.01
    assert load.cpu == pytest.approx(0.4 * 4.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "fio gave no result: it did not say why"),
        ("fio: unable to parse URI\n", "fio gave no result: fio: unable to parse URI"),
        ('{"jobs": []}', "fio gave no result"),
        (fio_text(job(9, 9, error=5), before="nbd: EIO\n"), r"fio failed \(error 5\): nbd: EIO"),
        (fio_text(job(0, 0), before="refused\n"), r"fio failed \(error 0\): refused"),
    ],
)
def test_fio_fails(text: str, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        fio_load(text, "read")


def test_iscsi_perf() -> None:
    assert iscsi_perf_rate(ISCSI_PERF) == 14424


def test_iscsi_perf_fails() -> None:
    with pytest.raises(Unavailable, match=r"iscsi-perf gave no result: Login Failed\."):
        iscsi_perf_rate("iscsi-perf version 0.1\nLogin Failed.\n")


def test_fabric() -> None:
    text = json.dumps({"requests": 10, "seconds": 2.0, "errors": 0, "cpu": 0.5})
    assert fabric_result(text) == Load(10, 2.0, 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no result"),
        ('{"requests": 1}', "no result"),
        ('{"requests": 1, "seconds": 1, "errors": 3, "cpu": 0}', "3 requests failed"),
    ],
)
def test_fabric_fails(text: str, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        fabric_result(text)


def test_small_requests_are_counted_large_ones_weighed() -> None:
    sample = measure(Workload("randread", 4096, 1), [], lambda seconds: Load(500, seconds, 1))(2)
    assert sample.value == 250
    sample = measure(Workload("read", 1 << 20, 8), [], lambda seconds: Load(500, seconds, 1))(2)
    assert sample.value == pytest.approx(262.144)


def test_cpu_is_of_the_services_and_the_load_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter((10.0, 10.5))
    monkeypatch.setattr(load_generators, "cpu_seconds", lambda _pids: next(used))
    run = measure(Workload("randread", 4096, 1), [os.getpid()], lambda _seconds: Load(1000, 1, 1))
    assert run(1).cpu == pytest.approx(1500)


def test_nothing_done_is_no_result() -> None:
    with pytest.raises(Unavailable, match="no request was completed"):
        measure(Workload("read", 4096, 1), [], lambda _seconds: Load(0, 1, 0))(1)


def test_names() -> None:
    assert Workload("randwrite", 4096, 32).name == "4 KiB random write, depth 32"
    assert Workload("read", 64 << 10, 8).name == "64 KiB sequential read, depth 8"


def test_fio_counts_in_whole_milliseconds() -> None:
    assert [milliseconds(seconds) for seconds in (1.5, 2, 0.00001)] == [1500, 2000, 1]
