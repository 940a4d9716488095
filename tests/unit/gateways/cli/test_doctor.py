# SPDX-License-Identifier: BSD-3-Clause
"""vofctl doctor: what it says of machines, configurations and devices."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.loopback import unused_port
from tests.support.scripted_rng import RNG_TVQN, rng_device
from tests.support.scripted_target import TVQN
from tests.support.target_fixtures import Serve
from tests.unit.gateways.cli.conftest import Run
from tests.unit.gateways.diagnosis.machines import SOUND, machine
from vof.gateways.cli import doctor
from vof.gateways.cli.exits import Exit
from vof.gateways.diagnosis import programs, reach
from vof.gateways.diagnosis.host import Host


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound machine, whose configuration is to be written here."""
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(doctor, "Host", lambda: machine(tmp_path / "machine", SOUND))
    monkeypatch.setattr(programs, "filter_path", lambda: Path("/cache/filter.so"))
    monkeypatch.setattr(programs, "plugin_path", lambda: tmp_path / "vof_plugin.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    (tmp_path / "vof_plugin.py").touch()
    return tmp_path


def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let it be a machine that has nothing."""
    host: Host = machine(tmp_path / "bare", programs={}, is_root=False)
    monkeypatch.setattr(doctor, "Host", lambda: host)


def told(run: Run, *words: object) -> tuple[int, list[dict[str, Any]]]:
    status, output, error = run("doctor", "-o", "json", *words)
    body = json.loads(output)
    assert error == ""
    assert list(body) == ["schema", "healthy", "findings"]
    assert (body["schema"], body["healthy"]) == (1, status == 0)
    assert all(list(each) == ["check", "status", "text", "fix"] for each in body["findings"])
    return status, body["findings"]


def test_a_sound_machine(run: Run, folder: Path) -> None:
    status, output, error = run("doctor")
    assert (status, error) == (0, "")
    assert output.decode() == (
        "ok       configuration: 0 devices and 0 mounts are configured\n"
        "ok       privilege: you are root\n"
        "ok       nbd: the kernel has 2 nbd devices\n"
        "ok       nbdkit: version 1.32.5\n"
        f"ok       plugin: nbdkit runs {folder}/vof_plugin.py\n"
        "ok       filter: the fast path is /cache/filter.so\n"
        "ok       fuse: mounts can be made\n"
        "ok       rdma: can be used: mlx5_0\n"
    )


def test_what_is_missing_is_wrong_where_it_is_needed(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(monkeypatch, folder)
    status, findings = told(run)
    assert status == 0
    assert {each["status"] for each in findings[1:-1]} == {"missing"}
    # What cannot be reached, too, is told only where something is configured.
    text = f"[device d]\ntvqn = x\ntport = {unused_port()}\n"
    (folder / "vof.conf").write_text(text, encoding="utf-8")
    status, findings = told(run)
    assert status == Exit.FAILED
    assert {each["check"]: each["status"] for each in findings} == {
        "configuration": "ok",
        "privilege": "wrong",
        "nbd": "wrong",
        "nbdkit": "wrong",
        "fuse": "missing",
        "rdma": "missing",
        "d": "wrong",
    }
    assert all(each["fix"] for each in findings if each["status"] != "ok")
    (folder / "vof.conf").write_text("[mount m]\nmountpoint = /m\n", encoding="utf-8")
    _status, findings = told(run)
    assert [each["check"] for each in findings if each["status"] == "wrong"] == ["fuse"]


def test_what_is_configured_is_reached(run: Run, serve: Serve, folder: Path) -> None:
    disk, rng = serve(), serve(rng_device())
    text = (
        f"[device disk0]\ntvqn = {TVQN}\ntport = {disk.port}\n"
        f"[device gone]\ntvqn = x\ntport = {disk.port}\n"
        f"[device bad]\ntvqn = x\ntport = 0\n"
        f"[mount m]\nmountpoint = /m\ntvqns = {RNG_TVQN}\ntport = {rng.port}\n"
    )
    (folder / "vof.conf").write_text(text, encoding="utf-8")
    status, findings = told(run)
    assert status == Exit.FAILED
    assert [each for each in findings if each["status"] == "wrong"] == [
        {
            "check": "configuration",
            "status": "wrong",
            "text": f"{folder}/vof.conf:9: [device bad] tport=0: not a number from 1 to 65535",
            "fix": "correct that line",
        },
        {
            "check": "gone",
            "status": "wrong",
            "text": f"127.0.0.1:{disk.port} has no device 'x'; check tvqn= against its "
            "configuration",
            "fix": "correct tvqn, or the target's configuration",
        },
    ]
    assert [(each["check"], each["text"]) for each in findings[-3:] if each["status"] == "ok"] == [
        ("disk0", f"a virtio-block at 127.0.0.1:{disk.port}, which speaks proposal"),
        (f"m: {RNG_TVQN}", f"a virtio-rng at 127.0.0.1:{rng.port}, which speaks proposal"),
    ]


def test_one_device(run: Run, serve: Serve, folder: Path) -> None:
    target = serve()
    text = f"[device x]\ntvqn = x\ntport = {unused_port()}\n"
    (folder / "vof.conf").write_text(text, encoding="utf-8")
    status, findings = told(run, TVQN, "--tport", target.port)
    assert (status, findings[-1]["check"], findings[-1]["status"]) == (0, TVQN, "ok")
    status, findings = told(run, "x")
    assert (status, findings[-1]["check"], findings[-1]["status"]) == (1, "x", "wrong")
    assert findings[-1]["fix"] == "start the target there, or correct taddr and tport"


def test_a_target_that_says_nothing(
    run: Run, serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "CONNECT_TIMEOUT", 0.2)
    target = serve(None, lambda _command: True)
    status, findings = told(run, TVQN, "--tport", target.port, "--dialect", "proposal")
    assert (status, findings[-1]["status"]) == (Exit.FAILED, "wrong")
    assert "within 0.2 s" in findings[-1]["text"]


def test_options_without_a_device(run: Run, folder: Path) -> None:
    status, output, error = run("doctor", "--taddr", "storage1")
    assert (status, output) == (Exit.USAGE, b"")
    assert "no device is named" in error
