# SPDX-License-Identifier: BSD-3-Clause
"""The guest's half of the harness: a scenario is a list of named steps that leave a record.

A scenario is a module beside this one (`scenario_*.py`). It makes one `Scenario`, decorates
functions with `@scenario.step()` and ends with `scenario.main()`; `harness.py` runs it as root
inside the guest. Steps run in the order they are written. What a step returns (anything JSON
can carry) is what the tests on the host assert on: steps do and measure, tests judge.

A boot is too expensive for a single answer, so a failed step does not end the scenario: only the
steps that name it in `needs` are left out, and their record says so. `always` steps run even
then, which is the place for unmounting and disconnecting. A scenario may be made of parts, each in
a module of its own and with what it needs among its own steps, so that one boot serves them all.

The record is a file of JSON lines, one when a step starts and one when it ends, so that the host
can name the step in which a guest hung. This module is imported on the host, too (tests take the
names of the steps from it), and therefore does nothing at import.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

EXCHANGE = Path("/run/exchange")
"""The one folder that guest and host both see and write, as the guest names it."""

RECORD = "steps.jsonl"
"""The record, inside that folder."""

SLACK = 4
"""How many times as long as is written down a guest may take for what is bounded in time, before it
counts as hung. What is written down suits a machine that does little else."""


def patience(seconds: float) -> float:
    """How long to wait for what takes at most ``seconds`` on such a machine."""
    return SLACK * seconds


class StepError(Exception):
    """A step found what it must not find; the text goes to the reader of the test report."""


class StepTimeout(BaseException):
    """A step used up its time. Not an Exception, so that no handler within the step keeps it."""


@dataclass(frozen=True)
class Step:
    name: str
    action: Callable[[], Any]
    needs: tuple[str, ...]
    timeout: float
    always: bool


class Scenario:
    """The steps of one guest, and the processes they leave running for each other."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._services: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._parts: list[Scenario] = []

    @property
    def names(self) -> list[str]:
        """The names of the steps, in the order in which they run."""
        return list(self._steps)

    @property
    def own_names(self) -> list[str]:
        """The same without the steps of parts."""
        others = {name for part in self._parts for name in part.names}
        return [name for name in self._steps if name not in others]

    def step(
        self, *, needs: tuple[str, ...] = (), timeout: float = 60, always: bool = False
    ) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Make a function a step of this scenario, under its own name.

        `timeout` is in seconds of an emulated machine: count with ten times the usual.
        """
        unknown = [name for name in needs if name not in self._steps]
        if unknown:
            raise ValueError(f"needs steps that are not written above it: {unknown}")

        def register(action: Callable[[], Any]) -> Callable[[], Any]:
            name = action.__name__
            if name in self._steps:
                raise ValueError(f"two steps are called {name}")
            self._steps[name] = Step(name, action, needs, patience(timeout), always)
            return action

        return register

    def include(self, part: "Scenario") -> None:
        """Have all steps of another one run here, after what is here by now: one boot for both."""
        for name, step in part._steps.items():
            if name in self._steps:
                raise ValueError(f"two steps are called {name}")
            self._steps[name] = step
        self._parts.append(part)

    def start(self, name: str, *argv: str | Path) -> subprocess.Popen[bytes]:
        """Start a process that outlives its step; its output goes to NAME.log in the exchange.

        It is ended with the scenario, or by the step that wants it ended earlier.
        """
        print(f"$ {shlex.join(map(str, argv))} &")
        with (EXCHANGE / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._services.append((name, process))
        return process

    def main(self) -> None:
        """Run every step and write the record. Exits 0 even if steps failed: see the record."""
        with (EXCHANGE / RECORD).open("a", encoding="utf-8") as record:

            def write(**line: Any) -> None:
                record.write(json.dumps(line) + "\n")
                record.flush()
                os.fsync(record.fileno())

            passed: set[str] = set()
            for step in self._steps.values():
                broken = [name for name in step.needs if name not in passed]
                if broken and not step.always:
                    write(step=step.name, state="left out", error=f"needs {', '.join(broken)}")
                    continue
                print(f"=== {step.name}")
                write(step=step.name, state="started")
                start = time.monotonic()
                data, error = _perform(step)
                seconds = round(time.monotonic() - start, 3)
                if error is None:
                    passed.add(step.name)
                    write(step=step.name, state="passed", seconds=seconds, data=data)
                else:
                    print(error)
                    write(step=step.name, state="failed", seconds=seconds, error=error)
            self._stop_services()
        sys.exit(0)

    def _stop_services(self) -> None:
        for part in reversed(self._parts):
            part._stop_services()
        for name, process in reversed(self._services):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                print(f"{name} does not end on SIGTERM")
                process.kill()


def _perform(step: Step) -> tuple[Any, str | None]:
    """What the step returned, and why it failed if it did."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise StepTimeout(f"not done after {step.timeout:g} s")

    signal.signal(signal.SIGALRM, expire)
    # Again every few seconds: a child that cannot be killed would block the cleanup as well.
    signal.setitimer(signal.ITIMER_REAL, step.timeout, 5)
    try:
        data = step.action()
        json.dumps(data)  # what cannot be recorded is this step's failure, not the record's
    except (StepError, StepTimeout) as err:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return None, str(err)
    except Exception:  # noqa: BLE001 - whatever it is, the next step must get its turn
        signal.setitimer(signal.ITIMER_REAL, 0)
        return None, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return data, None


def run(*argv: str | Path, check: bool = True) -> str:
    """Run a command to its end; what it printed on both streams is shown and returned.

    Raises StepError if it fails, unless `check` is false.
    """
    print(f"$ {shlex.join(map(str, argv))}")
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as err:
        raise StepError(f"{argv[0]}: {err.strerror}") from err
    if done.stdout:
        print(done.stdout, end="" if done.stdout.endswith("\n") else "\n")
    if check and done.returncode:
        raise StepError(
            f"{shlex.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}"
        )
    return done.stdout


def wait_until(what: str, condition: Callable[[], object], timeout: float = 20) -> None:
    """Return once `condition()` holds; StepError naming `what` if it does not in time."""
    deadline = time.monotonic() + patience(timeout)
    while not condition():
        if time.monotonic() > deadline:
            raise StepError(f"waited {patience(timeout):g} s for {what}")
        time.sleep(0.05)


def expect(holds: object, otherwise: str) -> None:
    """Raise StepError with the text unless the first argument is true."""
    if not holds:
        raise StepError(otherwise)
