# SPDX-License-Identifier: BSD-3-Clause
"""How a verb learns which device is meant and what holds for it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support.scripted_target import TVQN
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import Answers, device
from tests.unit.gateways.cli.conftest import Run
from vof.errors import ConfigError
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.target_options import add_target_argument, target_settings
from vof.gateways.settings.effective import Effective

TEXT = """\
[defaults]
taddr = somewhere
[device disk0]
tvqn = a/disk0
tport = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    (tmp_path / "vof.conf").write_text(TEXT, encoding="utf-8")
    return tmp_path


def settings(*words: str, **overrides: str | None) -> Effective:
    parser = argparse.ArgumentParser()
    add_target_argument(parser)
    return target_settings(parser.parse_args(words), **overrides)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [("disk0",), ("--tvqn", "disk0")])
def test_a_name(words: tuple[str, ...]) -> None:
    found = settings(*words, "--timeout", "2", queues="3", device=None)
    assert found.name == "disk0"
    parameters = found.parameters()
    assert (parameters.tvqn, parameters.taddr, parameters.tport) == ("a/disk0", "somewhere", 7)
    assert (parameters.timeout, found.number("queues"), found.text("device")) == (2, 3, None)


@pytest.mark.usefixtures("folder")
def test_a_tvqn() -> None:
    found = settings("a/disk0", "--taddr", "there")
    parameters = found.parameters()
    assert (found.name, parameters.taddr, parameters.tport) == (None, "there", 15771)
    assert parameters.timeout == 30


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "no device is named"),
        (("",), "no device is named"),
        (("a", "--tvqn", "b"), "two devices are named: a and --tvqn b"),
        (("disk0", "--tport", "0"), "tport=0: not a number"),
    ],
)
def test_usage(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        settings(*words)


def test_a_verb_finds_its_device_by_name(serve: Serve, run: Run, folder: Path) -> None:
    target = serve(device(), Answers())
    text = f"[device crypto0]\ntvqn = {TVQN}\ntport = {target.port}\n"
    (folder / "vof.conf").write_text(text, encoding="utf-8")
    status, output, error = run("crypto", "algorithms", "--tvqn", "crypto0")
    assert (status, error) == (0, "")
    assert output.startswith(b"aes-128-cbc ")


def test_a_verb_and_a_configuration_with_a_mistake(run: Run, folder: Path) -> None:
    (folder / "vof.conf").write_text(f"{TEXT}tprt = 7\n", encoding="utf-8")
    status, output, error = run("crypto", "algorithms", "--tvqn", "disk0")
    assert (status, output) == (Exit.USAGE, b"")
    assert error == (
        f"vofctl: {folder}/vof.conf:6: [device disk0] unknown key 'tprt'; did you mean 'tport'?\n"
    )
