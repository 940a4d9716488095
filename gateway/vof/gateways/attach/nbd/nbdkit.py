# SPDX-License-Identifier: BSD-3-Clause
"""nbdkit as a child of the supervisor: its command line, its start and end, its words.

Owns where plugin and filter are found. Must not know the kernel's device.
"""

from __future__ import annotations

import collections
import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.gateways.attach.nbd.filter_build import filter_path
from vof.gateways.attach.plan import Plan
from vof.gateways.sessions.status import LARGEST, SessionStatus

logger = logging.getLogger(__name__)

PLUGIN = "vof_plugin.py"

_POLL = 0.02
_END_TIMEOUT = 2.0
_LAST_WORDS = 20

_NO_NATIVE = (
    "this installation of vof lacks its compiled parts, which attaching a disk takes; "
    "install it with a C compiler"
)


@dataclass(frozen=True)
class CommandLine:
    """A command line of nbdkit, and the environment for it."""

    arguments: list[str]
    environment: dict[str, str]


def plugin_path() -> Path:
    """Return the plugin: of the checkout this runs from, or as it was installed.

    Raises ConfigError.
    """
    checkout = Path(__file__).resolve().parents[5] / "nbdkit-plugin" / PLUGIN
    installed = Path(sys.prefix) / "share" / "vof" / PLUGIN
    for path in (checkout, installed):
        if path.exists():
            return path
    raise ConfigError(f"{PLUGIN} is not in {installed.parent}: this installation is not whole")


def find_filter(fast_path: str) -> tuple[Path | None, str]:
    """Return the filter, or None to do without and why. Raises ConfigError or VofError if it must
    be there."""
    if fast_path == "off":
        return None, "filter=off"
    try:
        return filter_path(), ""
    except (VofError, OSError) as error:
        if fast_path == "on":
            raise
        logger.warning("nbdkit's fast path is not used: %s", error)
        return None, str(error)


def metrics_place(plan: Plan, folder: Path) -> str:
    """Return where nbdkit serves its metrics: in the folder, if the settings name no other place.

    The socket is the group's to read, the folder's other one is not."""
    return plan.plugin.get("metrics") or f"unix:{folder / 'metrics.sock'}"


def command_line(plan: Plan, folder: Path, filter_file: Path | None) -> CommandLine:
    """Return how to serve the disk at ``nbd.sock`` in the folder. Raises ConfigError."""
    program = shutil.which("nbdkit", path=_path())
    if program is None:
        raise ConfigError("nbdkit is not installed; install nbdkit and nbdkit-plugin-python")
    arguments = [program, "-f", "-U", str(folder / "nbd.sock"), "-P", str(folder / "nbdkit.pid")]
    if plan.read_only:
        arguments.append("-r")
    if filter_file is not None:
        arguments.append(f"--filter={filter_file}")
    arguments += ["python", str(plugin_path())]
    plugin = plan.plugin | {"metrics": metrics_place(plan, folder)}
    arguments += [f"{key}={value}" for key, value in plugin.items()]
    arguments += ["block_path=yes", "growing=yes"]
    return CommandLine(arguments, environment())


def environment() -> dict[str, str]:
    """Return the environment in which nbdkit's Python finds this vof."""
    # It looks for its packages beside the first python3 in PATH.
    found = {**os.environ, "PATH": _path()}
    found.pop("PYTHONHOME", None)
    if sys.prefix != sys.base_prefix:
        found["VIRTUAL_ENV"] = sys.prefix
    return found


class Nbdkit:
    """One nbdkit that runs. It dies with the thread that starts it, whatever becomes of that."""

    status: SessionStatus | None = None
    """What its plugin has said last of the session; see ``ends_within``."""

    def __init__(self, command: CommandLine, folder: Path, tell: Callable[[str], None]) -> None:
        """``tell`` gets each line that it writes, in a thread. Raises VofError."""
        try:
            from vof.gateways import process  # noqa: PLC0415 - compiled, may be missing
        except ImportError:
            raise ConfigError(_NO_NATIVE) from None
        self.socket = folder / "nbd.sock"
        self._pid_file = folder / "nbdkit.pid"
        for path in (self.socket, self._pid_file):
            path.unlink(missing_ok=True)
        parent = os.getpid()
        self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [*command.arguments, f"status_fd={its.fileno()}"],
                pass_fds=[its.fileno()],
                env=command.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Whoever may write to the socket has the disk.
                umask=0o077,
                start_new_session=True,
                preexec_fn=lambda: process.die_with(parent),  # noqa: PLW1509 - and nothing else
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._channel.close()
            raise VofError(f"nbdkit cannot be started: {error}") from None
        finally:
            its.close()
        self._last: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
        self._listener = threading.Thread(target=self._listen, args=(tell,), daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, timeout: float) -> None:
        """Return when it takes connections. Raises VofError, with its own words, if it does not."""
        deadline = time.monotonic() + timeout
        while not self._pid_file.exists():
            if self._process.poll() is not None:
                self._listener.join(1)
                raise VofError(f"nbdkit did not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise VofError(f"nbdkit did not start within {timeout:g} s")
            time.sleep(_POLL)

    def ends_within(self, seconds: float) -> bool:
        """Return whether it ends in that time; sooner where it says something of its session."""
        fd = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if self._channel.fileno() >= 0:
                poll.register(self._channel, select.POLLIN)
            ready = {ready for ready, _event in poll.poll(seconds * 1000)}
        finally:
            os.close(fd)
        if ready - {fd}:
            self.hear()
        if fd in ready:
            self._process.wait()
            self._channel.close()
        return fd in ready

    def last_words(self) -> str:
        """Return what it said of its end, in one line."""
        said = [line for line in self._last if "error:" in line]
        if said:
            return said[0].rpartition("error: ")[2]
        status = self._process.returncode
        if status is not None and status < 0:
            return f"killed by signal {-status}"
        return self._last[-1] if self._last else f"exit status {status}"

    def kill(self) -> None:
        """End it at once: its connections break, and with them whatever waits for the target."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def end(self) -> None:
        """End it in peace; at once if that takes long."""
        self._process.terminate()
        try:
            self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self._channel.close()

    def hear(self) -> None:
        """Take what the plugin has said of its session, without waiting."""
        try:
            while data := self._channel.recv(LARGEST, socket.MSG_DONTWAIT):
                self.status = SessionStatus.decode(data) or self.status
        except BlockingIOError:
            return
        except OSError:
            pass
        self._channel.close()  # it says no more

    def _listen(self, tell: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            # A line at a time, however long it is.
            while line := pipe.readline(4096):
                text = line.decode(errors="replace").rstrip()
                self._last.append(text)
                tell(text)


def _path() -> str:
    """Return PATH with this Python's programs first, and those for root last."""
    given = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return os.pathsep.join((str(Path(sys.prefix) / "bin"), given, "/usr/sbin", "/sbin"))
