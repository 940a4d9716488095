# SPDX-License-Identifier: BSD-3-Clause
"""Run a suite of pytest inside a guest as one step, and judge every test of it outside.

A step calls `run_suite`. Outside, `Suite.of` reads what became of each test, and `Suite.judge`
fails unless all of them passed: a skip is a failure, and so is a suite without tests.

The report is a file of JSON lines in the exchange folder. This module writes it, as a plugin of the
pytest inside: a line when a test starts, and one when it ends. So if the step's time runs out, or
the guest dies, the host still names the test in which that happened.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.guest.steps import EXCHANGE, run

if TYPE_CHECKING:
    from tests.guest.harness import Guest

_REPORT = "VOF_SUITE_REPORT"
"""The environment variable that tells the plugin where to write."""


# --- inside


def run_suite(name: str, *arguments: str, folder: Path = EXCHANGE, **environment: str) -> None:
    """Run pytest on these arguments. Does not raise if tests fail: judging is for the host.

    `name` is the suite's own within its scenario; `environment` is what its tests see beside ours.
    """
    settings = {
        _REPORT: str(folder / f"{name}.jsonl"),
        "HYPOTHESIS_STORAGE_DIRECTORY": f"/run/hypothesis-{name}",  # not into the checkout
        "VOF_NO_SKIP": "1",
        **environment,
    }
    run(
        *("env", *(f"{variable}={value}" for variable, value in settings.items())),
        *(sys.executable, "-m", "pytest", "-p", "tests.guest.suite", "-p", "no:cacheprovider"),
        *("-q", "--tb=short", "--durations=10", *arguments),
        check=False,
    )


def _write(**line: Any) -> None:
    with Path(os.environ[_REPORT]).open("a", encoding="utf-8") as report:
        report.write(json.dumps(line) + "\n")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if not report.passed:
        _write(test=report.nodeid, state=report.outcome, text=report.longreprtext)


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(test=nodeid, state="started", text="")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Once each for setting up, the test itself and tearing down."""
    if report.when == "call" or not report.passed:
        _write(test=report.nodeid, state=report.outcome, text=report.longreprtext)


def pytest_sessionfinish(exitstatus: int) -> None:
    _write(exit=int(exitstatus))


# --- outside


@dataclass(frozen=True)
class Outcome:
    """What became of a test: `passed`, `failed`, `skipped`, or `started` and no more."""

    state: str
    text: str


@dataclass(frozen=True)
class Suite:
    """What a guest has reported of one suite."""

    name: str
    tests: dict[str, Outcome]
    finished: bool

    @classmethod
    def of(cls, guest: "Guest", step: str, name: str) -> "Suite":
        """What `run_suite(name, ...)` left. If nothing, AssertionError with how the step ended."""
        __tracebackhide__ = True
        path = guest.folder / f"{name}.jsonl"
        if not path.exists():
            guest.result(step)
            raise AssertionError(f"step {step} passed and wrote no {path.name}{guest.logs()}")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> "Suite":
        tests: dict[str, Outcome] = {}
        finished = False
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the guest died while it wrote this line
            if "exit" in line:
                finished = True
                continue
            known = tests.get(line["test"])
            # Once it has failed, it stays so: it may still be torn down, or run again.
            if known is None or known.state in ("started", "passed"):
                tests[line["test"]] = Outcome(line["state"], line["text"])
        return cls(path.stem, tests, finished)

    def judge(self, prefix: str = "") -> None:
        """AssertionError, with the texts, unless every test whose id starts so has passed."""
        __tracebackhide__ = True
        chosen = {test: found for test, found in self.tests.items() if test.startswith(prefix)}
        bad = {test: found for test, found in chosen.items() if found.state != "passed"}
        text = "".join(f"\n--- {test} {found.state}\n{found.text}" for test, found in bad.items())
        if bad:
            raise AssertionError(f"{self.name}: {len(bad)} of {len(chosen)} did not pass{text}")
        if not chosen:
            raise AssertionError(f"{self.name}: no test ran of {prefix or 'any file'}")
        if not self.finished:
            raise AssertionError(f"{self.name}: pytest never came to its end")
