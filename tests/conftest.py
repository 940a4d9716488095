# SPDX-License-Identifier: BSD-3-Clause
"""What holds for every test: the environment it sees, and what a skip means.

`VOF_NO_SKIP=1` (set by `make check`) turns a skip into a failure: that check installs every
prerequisite first, so there a skip is a test that silently did not run. Without it a test whose
prerequisite is missing skips and names what is missing.
"""

import os
import shutil
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

NO_SKIP = os.environ.get("VOF_NO_SKIP") == "1"

# marker -> commands, and patterns of paths, that must exist for the tests that carry it
PREREQUISITES: dict[str, tuple[str, ...]] = {
    "fuse": ("/dev/fuse", "fusermount3"),
    "nbdkit": ("nbdkit", "nbdinfo"),
    "tshark": ("tshark", "dumpcap"),
    "guest": ("qemu-system-x86_64", "vng", "busybox", "/boot/vmlinuz-*"),
}


def _activate() -> None:
    """Let child processes see what a shell with our virtual environment activated would show.

    nbdkit's Python takes its packages from the environment of the first python3 in PATH.
    Mounting and mkfs live in sbin, which is not in every user's PATH.
    """
    path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    path += [folder for folder in ("/usr/sbin", "/sbin") if folder not in path]
    if sys.prefix != sys.base_prefix:
        path.insert(0, f"{sys.prefix}/bin")
        os.environ["VIRTUAL_ENV"] = sys.prefix
    os.environ["PATH"] = ":".join(path)


def _missing(names: tuple[str, ...]) -> list[str]:
    return [
        name
        for name in names
        if not (list(Path("/").glob(name[1:])) if name.startswith("/") else shutil.which(name))
    ]


def _heed_signals() -> None:
    """Let child processes heed what is ignored here, as by nohup(1)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def pytest_configure(config: pytest.Config) -> None:
    _activate()
    _heed_signals()
    # What this machine is configured for must not be what the tests find.
    os.environ["VOF_CONFIG_DIR"] = "/nonexistent/vof"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soak tests out unless the marker expression mentions them."""
    if "soak" in (config.option.markexpr or ""):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, names in PREREQUISITES.items():
        if item.get_closest_marker(marker) and (missing := _missing(names)):
            pytest.skip(f"missing: {', '.join(missing)}; `make setup` installs it")


def _skip_to_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped where nothing may skip (VOF_NO_SKIP=1): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as a skip, too; it did run.
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        _skip_to_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIP and report.skipped:
        _skip_to_failure(report)
    return report
