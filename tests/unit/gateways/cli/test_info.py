# SPDX-License-Identifier: BSD-3-Clause
"""vofctl info: what it tells of each type of device, and of devices that misbehave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.loopback import unused_port
from tests.support.protocol_numbers import (
    EVERYTHING,
    F_RO,
    F_VERSION_1,
    GET_CONFIG,
    GET_DEVICE_FEATURE,
    GET_GENERATION,
    GET_ID,
    GET_QUEUE_SIZE,
    block_config,
)
from tests.support.scripted_target import TVQN, Command, Device, ScriptedTarget, on, silence
from tests.support.target_fixtures import Serve
from tests.target.process import TargetProcess
from tests.unit.drivers.crypto_device import device as crypto_device
from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.exits import Exit

CONFIG = """
[target]
port = 0

[block]
tvqn = cli/block0.service
model = block
backend = driver=block-memory,size=64M,serial=S-1

[rng]
tvqn = cli/rng0.service
model = rng
backend = driver=rng-simulator

[crypto]
tvqn = cli/crypto0.service
model = crypto
backend = driver=crypto-openssl
"""

KEYS = [
    *("schema", "name", "tvqn", "type", "transport", "taddr", "tport", "ivqn", "dialect"),
    *("vendor_id", "vendor", "device_id", "target_id", "features", "max_segs", "num_queues"),
    *("queue_sizes", "size", "read_only", "serial", "config"),
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real target."""
    config = tmp_path_factory.mktemp("info") / "target.conf"
    config.write_text(CONFIG, encoding="utf-8")
    with TargetProcess(config) as process:
        yield process.address[1]


def told(run: Run, *words: object) -> dict[str, Any]:
    """Run the verb for JSON, which must succeed."""
    status, output, error = run("info", *words, "-o", "json")
    assert (status, error) == (0, "")
    body: dict[str, Any] = json.loads(output)
    assert list(body) == KEYS
    return body


def at(target: ScriptedTarget) -> tuple[object, ...]:
    return TVQN, "--tport", target.port, "--dialect", "proposal"


class TestTypes:
    def test_block(self, run: Run, port: int) -> None:
        found = told(run, "cli/block0.service", "--tport", port, "--ivqn", "vqn:me")
        config, features = found.pop("config"), found.pop("features")
        assert found == {
            "schema": 1,
            "name": None,
            "tvqn": "cli/block0.service",
            "type": "virtio-block",
            "transport": "tcp",
            "taddr": "127.0.0.1",
            "tport": port,
            "ivqn": "vqn:me",
            "dialect": "v5",
            "vendor_id": 0x564F4631,
            "vendor": "vof-target",
            "device_id": 2,
            "target_id": found["target_id"],
            "max_segs": found["max_segs"],
            "num_queues": 1,
            "queue_sizes": [256],
            "size": 64 << 20,
            "read_only": False,
            "serial": "S-1",
        }
        assert config["capacity"] == 131072
        assert {"FLUSH", "MQ", "VERSION_1"} <= set(features)

    def test_rng(self, run: Run, port: int) -> None:
        found = told(run, "cli/rng0.service", "--tport", port)
        assert (found["type"], found["device_id"]) == ("virtio-rng", 4)
        assert (found["features"], found["config"]) == (["VERSION_1"], {})
        assert (found["size"], found["read_only"], found["serial"]) == (None, None, None)

    def test_crypto(self, run: Run, port: int) -> None:
        found = told(run, "--tvqn", "cli/crypto0.service", "--tport", port)
        assert (found["type"], found["device_id"]) == ("virtio-crypto", 20)
        assert found["config"]["max_dataqueues"] == found["num_queues"] - 1
        assert "CIPHER_STATELESS_MODE" in found["features"]

    def test_another(self, run: Run, serve: Serve) -> None:
        found = told(run, *at(serve(Device(device_id=1, features=1 << 5 | F_VERSION_1))))
        assert (found["type"], found["device_id"]) == ("virtio device type 1", 1)
        assert (found["features"], found["config"]) == (["bit5", "VERSION_1"], {})
        assert (found["vendor"], found["vendor_id"]) == (None, 0x12345678)

    def test_text(self, run: Run, serve: Serve) -> None:
        device = Device(features=F_RO | F_VERSION_1, num_queues=2, serial=b"a\nb")
        target = serve(device)
        status, output, error = run("info", *at(target), "--ivqn", "vqn:me")
        assert (status, error) == (0, "")
        assert output.decode() == (
            f"tvqn: {TVQN}\n"
            "type: virtio-block\n"
            "transport: tcp\n"
            "taddr: 127.0.0.1\n"
            f"tport: {target.port}\n"
            "ivqn: vqn:me\n"
            "dialect: proposal\n"
            "vendor_id: 0x12345678\n"
            "device_id: 2\n"
            "target_id: 7\n"
            "features: RO VERSION_1\n"
            "max_segs: 128\n"
            "num_queues: 2\n"
            "size: 1048576\n"
            "read_only: yes\n"
            "serial: a\\nb\n"
            "queue0.size: 128\n"
            "queue1.size: 128\n"
            "config.capacity: 2048\n"
        )

    def test_by_its_name(
        self, run: Run, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
        text = f"[device rng0]\ntvqn = cli/rng0.service\ntport = {port}\ndialect = v2\n"
        (tmp_path / "vof.conf").write_text(text, encoding="utf-8")
        found = told(run, "rng0")
        assert (found["name"], found["tvqn"]) == ("rng0", "cli/rng0.service")
        assert (found["dialect"], found["tport"]) == ("v2", port)


class TestOddDevices:
    def test_no_serial(self, run: Run, serve: Serve) -> None:
        def refuse(command: Command) -> bool:
            mine = command.opcode == 0x2000 and command.request[0] == GET_ID
            if mine:
                command.complete(bytes(20), b"\2")
            return mine

        assert told(run, *at(serve(Device(), refuse)))["serial"] is None
        assert told(run, *at(serve(Device(serial=b""))))["serial"] is None

    def test_more_queues_than_anyone_has(self, run: Run, serve: Serve) -> None:
        target = serve(Device(num_queues=65535))
        found = told(run, *at(target))
        assert (found["num_queues"], found["queue_sizes"]) == (65535, [128] * 128)

    def test_a_crypto_that_is_not_ready(self, run: Run, serve: Serve) -> None:
        device = dataclasses.replace(crypto_device(), config=bytes(56), num_queues=1)
        assert told(run, *at(serve(device)))["config"]["status"] == 0

    def test_an_impossible_capacity(self, run: Run, serve: Serve) -> None:
        target = serve(Device(features=EVERYTHING, config=block_config(capacity=1 << 60)))
        status, output, error = run("info", *at(target))
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert "the device's config is impossible: capacity of" in error

    @pytest.mark.parametrize("opcode", [GET_DEVICE_FEATURE, GET_QUEUE_SIZE, GET_CONFIG])
    def test_a_refusal(self, run: Run, serve: Serve, opcode: int) -> None:
        target = serve(Device(), on(opcode, lambda command: command.reply(status=5)))
        status, output, error = run("info", *at(target))
        assert (status, output) == (Exit.FAILED, b"")
        assert error.startswith("vofctl: the target refused get_")
        assert error.count("\n") == 1

    def test_a_config_that_never_rests(self, run: Run, serve: Serve) -> None:
        generations = iter(range(1000))

        def change(command: Command) -> bool:
            if command.opcode == GET_GENERATION:
                command.reply(next(generations))
            return command.opcode == GET_GENERATION

        status, _output, error = run("info", *at(serve(Device(), change)))
        assert status == Exit.UNREACHABLE
        assert "config changed under each of" in error

    def test_no_answer_to_the_serial(self, run: Run, serve: Serve) -> None:
        target = serve(Device(), on(0x2000, silence))
        status, output, error = run("info", *at(target), "--timeout", "0.2")
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert "within 0.2 s" in error


class TestReaching:
    def test_no_target(self, run: Run) -> None:
        status, output, error = run("info", "x", "--tport", unused_port())
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert "cannot connect to 127.0.0.1:" in error

    def test_no_device(self, run: Run, port: int) -> None:
        status, _output, error = run("info", "cli/none", "--tport", port, "-o", "json")
        assert status == Exit.UNREACHABLE
        assert "has no device 'cli/none'" in error

    def test_no_name(self, run: Run) -> None:
        status, _output, error = run("info")
        assert status == Exit.USAGE
        assert "no device is named" in error
