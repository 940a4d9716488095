# SPDX-License-Identifier: BSD-3-Clause
"""What is said of nbdkit, its Python, our plugin and the filter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.gateways.diagnosis.machines import WHOLE, machine
from vof import __version__
from vof.errors import ConfigError
from vof.gateways.diagnosis import host, programs
from vof.gateways.diagnosis.finding import Finding, Status
from vof.gateways.diagnosis.host import Ran
from vof.gateways.diagnosis.programs import check_nbdkit


@pytest.fixture(autouse=True)
def has_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "filter_path", lambda: Path("/cache/filter.so"))


DUMP_CONFIG = "nbdkit --dump-config"
VERSION = "nbdkit python --version"
DUMP_PLUGIN = "nbdkit python vof_plugin.py --dump-plugin"


def found(tmp_path: Path, command: str = "", ran: Ran | None = None) -> list[Finding]:
    """Return what is said of a whole nbdkit, but for what it answers to one command."""
    answers = WHOLE | ({command: ran} if ran else {})
    return list(check_nbdkit(machine(tmp_path, programs=answers), needed=True))


def test_a_whole_one(tmp_path: Path) -> None:
    nbdkit, plugin, fast = found(tmp_path)
    assert [each.status for each in (nbdkit, plugin, fast)] == [Status.OK] * 3
    assert nbdkit.text == "version 1.32.5"
    assert plugin.text.endswith("/nbdkit-plugin/vof_plugin.py")
    assert fast.text == "the fast path is /cache/filter.so"


def test_none(tmp_path: Path) -> None:
    (only,) = found(tmp_path, DUMP_CONFIG, Ran(None, "", "No such file or directory"))
    assert (only.status, only.fix) == (
        Status.WRONG,
        "install nbdkit and nbdkit-plugin-python (Debian's names)",
    )


def test_no_python(tmp_path: Path) -> None:
    _nbdkit, plugin = found(tmp_path, VERSION, Ran(1, "", "no plugin"))
    assert (plugin.status, plugin.text) == (
        Status.WRONG,
        "its plugin for Python is not installed",
    )


def test_a_python_without_vof(tmp_path: Path) -> None:
    error = "vof_plugin.py: the Python package 'vof' is not installed\nmore\n"
    _nbdkit, plugin, _fast = found(tmp_path, DUMP_PLUGIN, Ran(1, "", error))
    assert plugin.status is Status.WRONG
    assert plugin.text.endswith("vof_plugin.py: the Python package 'vof' is not installed")
    assert plugin.fix == "install nbdkit's plugin for the Python that vof is installed for"


def test_another_vof(tmp_path: Path) -> None:
    _nbdkit, plugin, _fast = found(tmp_path, DUMP_PLUGIN, Ran(0, "vof_version=0.0.0\n", ""))
    assert plugin.text == f"nbdkit's Python finds vof 0.0.0, and this is {__version__}"


def test_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise ConfigError("vof_plugin.py is not in /here")

    monkeypatch.setattr(programs, "plugin_path", refuse)
    _nbdkit, plugin, _fast = found(tmp_path)
    assert (plugin.status, plugin.text) == (Status.WRONG, "vof_plugin.py is not in /here")


def test_no_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the faster way, and never needed."""

    def refuse() -> Path:
        raise ConfigError("nbdkit's headers are not installed")

    monkeypatch.setattr(programs, "filter_path", refuse)
    *_others, fast = found(tmp_path)
    assert (fast.status, fast.text) == (
        Status.MISSING,
        "requests go through Python: nbdkit's headers are not installed",
    )


class TestRunning:
    def test_what_a_program_says(self) -> None:
        program = "import sys; print('out'); sys.exit('error')"
        assert host.run([sys.executable, "-c", program]) == (1, "out\n", "error\n")

    def test_no_program(self, tmp_path: Path) -> None:
        assert host.run([tmp_path / "none"]) == (None, "", "No such file or directory")

    def test_one_that_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host, "TIMEOUT", 0.1)
        program = "import signal; signal.pause()"
        assert host.run([sys.executable, "-c", program]) == (None, "", "no answer within 0.1 s")
