# SPDX-License-Identifier: BSD-3-Clause
"""The real nbdkit with the plugin, as a process, and libnbd's connections to it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import nbd

from tests.support.scripted_target import PATIENCE, wait_until
from vof.gateways.attach.nbd.filter_build import filter_path

PLUGIN = Path(__file__).parents[2] / "nbdkit-plugin" / "vof_plugin.py"


class Way(NamedTuple):
    """How a request goes from nbdkit to the target."""

    environment: dict[str, str]
    filtered: bool

    def command(self, *options: str) -> list[str]:
        """Return nbdkit's command line up to the plugin's parameters."""
        filters = [f"--filter={filter_path()}"] if self.filtered else []
        return ["nbdkit", *options, *filters, "python", str(PLUGIN)]


WAYS = {
    "python": Way({"VOF_FABRIC": "python"}, filtered=False),
    "plain": Way({"VOF_FABRIC": "native"}, filtered=False),
    "fast": Way({"VOF_FABRIC": "native"}, filtered=True),
}


class Nbdkit:
    """A running nbdkit on a Unix socket. A context manager that ends it."""

    way = WAYS["plain"]
    """The one that tests take from now on: a fixture goes through all."""

    def __init__(
        self,
        *arguments: str,
        daemon: bool = False,
        options: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._folder = TemporaryDirectory(prefix="vof-nbd-")
        folder = Path(self._folder.name)
        self.socket = folder / "nbd.sock"
        self._log = folder / "log"
        pid_file = folder / "pid"
        options = ["-U", str(self.socket), "-P", str(pid_file), *options]
        options += [] if daemon else ["-f"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.way.command(*options), *arguments],
                stderr=log,
                stdout=log,
                env=os.environ | self.way.environment,
                pass_fds=pass_fds,
            )
        try:
            # nbdkit writes the file when it is ready for connections.
            wait_until(
                lambda: _has_text(pid_file) or (not daemon and self._process.poll() is not None),
                "nbdkit's readiness",
            )
            assert _has_text(pid_file), self.log
            if daemon:
                assert self._process.wait(PATIENCE) == 0, self.log
            self.pid = int(pid_file.read_text())
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What nbdkit has said on stderr; after daemonising that is nothing any more."""
        return self._log.read_text()

    @property
    def uri(self) -> str:
        return f"nbd+unix:///?socket={self.socket}"

    @property
    def alive(self) -> bool:
        """False once the process has ended, whether or not its parent has taken notice."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state != "Z"

    def connect(self, export: str = "") -> Any:
        """Return a libnbd handle, connected."""
        handle = nbd.NBD()
        handle.set_export_name(export)
        handle.connect_unix(str(self.socket))
        return handle

    @contextmanager
    def client(self, export: str = "") -> Iterator[Any]:
        handle = self.connect(export)
        try:
            yield handle
        finally:
            if not handle.aio_is_dead():
                handle.shutdown()
            del handle

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            status = self._process.wait(PATIENCE)
            assert not status, f"nbdkit ended with status {status}: {self.log}"
        elif self.alive:
            os.kill(self.pid, signal.SIGTERM)
            wait_until(lambda: not self.alive, "nbdkit's end")
        self._folder.cleanup()


def run_nbdkit(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run nbdkit with the plugin to its end; ``changes`` are to the environment.

    With a harmless command, so that it ends where nothing is wrong.
    """
    return subprocess.run(
        [*Nbdkit.way.command("-U", "-"), *arguments, "--run", "true"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | Nbdkit.way.environment | changes,
    )


def _has_text(file: Path) -> bool:
    """Whether a file is there and written: nbdkit makes it first and fills it then."""
    return file.exists() and file.stat().st_size > 0
