# SPDX-License-Identifier: BSD-3-Clause
"""vofctl bench: what it asks of a device, what it tells, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal

import pytest

from tests.support.implementations import implementation, on_both
from tests.support.protocol_numbers import EVERYTHING, F_RO, IN, OUT, block_config
from tests.support.scripted_rng import RNG_TVQN, rng_device
from tests.support.scripted_target import TVQN, Command, Device, ScriptedTarget
from tests.support.target_fixtures import Serve
from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.exits import Exit
from vof.program import Interrupted

__all__ = ["implementation"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    on_both(metafunc)


def bench(run: Run, target: ScriptedTarget, *words: object) -> tuple[int, bytes, str]:
    reach = ("--tport", target.port, "--dialect", "proposal")
    return run("bench", target.device.tvqn, *reach, "--seconds", "0.2", *words)


def requests(target: ScriptedTarget) -> list[tuple[int, int]]:
    """Kind and bytes of every request."""
    return [
        (
            command.request[0],
            sum(each.length for each in command.writable[:-1]) + len(command.payload) - 16,
        )
        for command in target.requests()
    ]


class TestLoad:
    def test_it_reads(self, run: Run, serve: Serve) -> None:
        target = serve(Device(disk=bytearray(b"\xaa" * 2048 * 512)))
        status, output, error = bench(run, target, "-o", "json", "--queues", "2")
        assert (status, error) == (0, "")
        found = json.loads(output)
        assert list(found) == [
            *("schema", "name", "tvqn", "operation", "pattern", "block_size", "depth", "queues"),
            *("seconds", "requests", "errors", "iops", "bytes_per_second", "latency_us"),
        ]
        latencies = found["latency_us"]
        assert list(latencies) == ["p50", "p90", "p99", "p99.9"]
        assert 0 < latencies["p50"] <= latencies["p90"] <= latencies["p99"] <= latencies["p99.9"]
        assert (found["schema"], found["name"], found["tvqn"]) == (1, None, TVQN)
        assert (found["operation"], found["pattern"]) == ("read", "random")
        assert (found["block_size"], found["depth"], found["queues"]) == (4096, 32, 2)
        assert (found["requests"], found["errors"]) == (len(target.requests()), 0)
        assert 0.2 <= found["seconds"] < 60
        assert found["iops"] == pytest.approx(found["requests"] / found["seconds"], rel=1e-3)
        assert found["bytes_per_second"] == pytest.approx(found["iops"] * 4096, rel=1e-3)
        assert set(requests(target)) == {(IN, 4096)}
        assert len({command.request[1] for command in target.requests()}) > 2
        assert set(target.device.disk) == {0xAA}

    def test_text(self, run: Run, serve: Serve) -> None:
        target = serve()
        words = ("--block-size", "8K", "--depth", "3", "--sequential", "--queues", "1")
        status, output, error = bench(run, target, *words)
        assert (status, error) == (0, "")
        assert re.sub(r"[0-9.]+", "N", output.decode()) == (
            "load: sequential reads of N bytes, N in flight on each of N virtqueues\n"
            "seconds: N\n"
            "requests: N\n"
            "iops: N\n"
            "throughput: N MiB/s\n"
            "latency pN: N us\n"
            "latency pN: N us\n"
            "latency pN: N us\n"
            "latency pN: N us\n"
        )
        assert b"of 8192 bytes, 3 in flight on each of 1 virt" in output
        places = [command.request[1] for command in target.requests()]
        assert places == [16 * (place % 128) for place in range(len(places))]

    def test_it_writes_only_when_told(self, run: Run, serve: Serve) -> None:
        target = serve(Device(disk=bytearray(b"\xaa" * 2048 * 512)))
        words = ("--overwrite", "--sequential", "--queues", "1", "-o", "json")
        status, output, _error = bench(run, target, *words)
        assert (status, json.loads(output)["operation"]) == (0, "write")
        assert set(requests(target)) == {(OUT, 4096)}

    def test_errors_of_the_device_are_told(self, run: Run, serve: Serve) -> None:
        numbers = itertools.count()

        def fail_some(command: Command) -> bool:
            failed = command.opcode == 0x2000 and next(numbers) % 2 == 0
            if failed:
                sizes = [each.length for each in command.writable[:-1]]
                command.complete(*map(bytes, sizes), b"\1")
            return failed

        target = serve(Device(), fail_some)
        status, output, _error = bench(run, target)
        assert status == Exit.FAILED
        assert re.search(rb"^errors: [1-9]", output, re.MULTILINE)


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--seconds", "0"), "--seconds=0: not a number of seconds from 0.1 to 86400"),
            (("--seconds", "nan"), "--seconds=nan: not a number of seconds"),
            (("--seconds", "x"), "--seconds=x: not a number of seconds"),
            (("--depth", "0"), "--depth=0: not a number from 1 to 1024"),
            (("--depth", "1025"), "--depth=1025: not a number from 1 to 1024"),
            (("--block-size", "0"), "--block-size=0: not a number of bytes, such as 4096 or 64K"),
            (("--block-size", "4G"), "--block-size=4G: not a number of bytes"),
            (("--queues", "0"), "queues=0: not a number from 1 to 128"),
        ],
    )
    def test_options(self, run: Run, words: tuple[str, ...], text: str) -> None:
        status, output, error = run("bench", "x", *words)
        assert (status, output) == (Exit.USAGE, b"")
        assert text in error

    def test_a_device_that_is_no_disk(self, run: Run, serve: Serve) -> None:
        target = serve(rng_device())
        assert target.device.tvqn == RNG_TVQN
        status, output, error = bench(run, target)
        assert (status, output) == (Exit.USAGE, b"")
        assert "is a virtio-rng, not a virtio-blk" in error

    def test_a_disk_that_is_too_small(self, run: Run, serve: Serve) -> None:
        target = serve(Device(config=block_config(capacity=4)))
        status, _output, error = bench(run, target)
        assert status == Exit.USAGE
        assert "the device has 2048 bytes: too few for requests of 4096" in error

    def test_requests_the_device_cannot_take(self, run: Run, serve: Serve) -> None:
        status, _output, error = bench(run, serve(), "--block-size", "4095")
        assert status == Exit.FAILED
        assert "requests of 4095 bytes: multiples of 512 up to" in error

    def test_a_disk_that_is_read_only(self, run: Run, serve: Serve) -> None:
        target = serve(Device(features=EVERYTHING | F_RO))
        status, _output, error = bench(run, target, "--overwrite")
        assert (status, "the device is read-only" in error) == (Exit.FAILED, True)
        assert target.requests() == []


class TestEnds:
    def test_the_session_is_lost(self, run: Run, serve: Serve) -> None:
        numbers = itertools.count()

        def leave(command: Command) -> bool:
            if command.opcode == 0x2000 and next(numbers) == 20:
                for connection in command.connection.target.connections:
                    connection.close()
            return False

        status, output, error = bench(run, serve(Device(), leave), "--seconds", "60")
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert error.startswith("vofctl: 127.0.0.1:")
        assert error.count("\n") == 1

    def test_no_answer(self, run: Run, serve: Serve) -> None:
        """Ends it when the timeout has passed, not when its own time has."""
        target = serve(Device(), lambda command: command.opcode == 0x2000)
        status, output, error = bench(run, target, "--timeout", "0.2", "--seconds", "3600")
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert error.startswith(f"vofctl: 127.0.0.1:{target.port}")
        assert "no answer to VIRTIO_BLK_T_IN within 0.2 s" in error
        assert error.count("\n") == 1

    def test_an_interrupt(self, run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ends the load, though it had a minute to go; the fixtures see that nothing stays."""

        def interrupt(_bar: object, _fraction: float) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr("vof.gateways.cli.progress.Progress.advance", interrupt)
        with pytest.raises(Interrupted):
            bench(run, serve(), "--seconds", "60")
