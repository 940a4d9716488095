# SPDX-License-Identifier: BSD-3-Clause
"""Starts a supervisor: in a process of its own, or as this one for systemd.

Owns the news between the two: a supervisor in the background tells whoever started it, through a
socket, how it went, and undoes everything if nobody is there to hear it. Must not know how a disk
is attached.
"""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import os
import signal
import socket
import sys
import threading
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from vof import errors
from vof.descriptors import explain
from vof.errors import VofError
from vof.gateways.attach.ending import SupervisorProcess
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.signals import hold_back
from vof.gateways.attach.state import END, Claim, Record, StateFolder
from vof.gateways.attach.supervisor import supervise
from vof.logline import printable
from vof.notify import notify
from vof.program import Interrupted, hold, say

LOG = "log"
"""The supervisor's log and nbdkit's, in the entry's folder."""

_HEARD = b"\n"

_LOG_SIZE = 256 << 10
_LARGEST = 1 << 20
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Launch:
    """A supervisor that was started in the background."""

    def __init__(self, plan: Plan, folder: StateFolder, kernel: Kernel) -> None:
        ours, its = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _close_all_but(its.fileno())
            _be_the_supervisor(plan, folder, kernel, its)
        its.close()
        self._socket = ours

    def fileno(self) -> int:
        """Return what becomes readable when there is an outcome."""
        return self._socket.fileno()

    def outcome(self) -> Record:
        """Wait until the disk is usable; no signal ends this process then until it says so.

        Raises VofError, of the kind it was, if the disk cannot be.
        """
        data = bytearray()
        with self._socket:
            while not data.endswith(b"\n") and len(data) < _LARGEST:
                part = self._socket.recv(1 << 16)
                if not part:
                    break
                data += part
            news = json.loads(data) if data.endswith(b"\n") else None
            if news is not None:
                if "failure" not in news:
                    hold()
                with suppress(OSError):
                    self._socket.sendall(_HEARD)
        if news is None:
            _pid, status = os.waitpid(self.pid, 0)
            how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no word"
            raise VofError(f"the supervisor ended with {how} before the disk was attached")
        if "failure" in news:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)  # until all is undone
            kind = getattr(errors, news["kind"], VofError)
            raise kind(news["failure"], errno=news["errno"])
        return Record(**news)

    def abandon(self) -> None:
        """Have everything undone."""
        self._socket.close()

    def wait_until_undone(self, seconds: float) -> None:
        """Wait for the supervisor's end, which comes by itself once it was abandoned."""
        with closing(SupervisorProcess(self.pid)) as supervisor:
            supervisor.ends_within(seconds)


def run_in_foreground(plan: Plan, folder: StateFolder, kernel: Kernel) -> None:
    """Be the supervisor until the end, and tell systemd how it goes. Raises VofError, and
    Interrupted if it was ended before the disk was attached."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    hold_back()
    claim = _claim(plan, folder)

    def ready(record: Record) -> None:
        notify(f"READY=1\nSTATUS='{printable(record.tvqn)}' is {record.device}")
        say(f"{record.device}\n")

    def changed(record: Record) -> None:
        failing = record.state not in {"connected", "disconnecting"} and record.error
        said = f", {record.state}: {record.error}" if failing else ""
        notify(f"STATUS='{printable(record.tvqn)}' is {record.device}{printable(said)}")

    try:
        supervise(plan, claim, kernel, ready, changed)
    finally:
        notify("STOPPING=1")


def _claim(plan: Plan, folder: StateFolder) -> Claim:
    return folder.claim(plan.name, plan.default_name, plan.tvqn, plan.parameters.where)


def _be_the_supervisor(
    plan: Plan, folder: StateFolder, kernel: Kernel, channel: socket.socket
) -> None:
    status = 1
    try:
        os.setsid()
        os.chdir("/")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _be_silent()
        hold_back()
        claim = _claim(plan, folder)
        _log_to(claim.folder / LOG)
        starter = _Starter(channel)
        supervise(plan, claim, kernel, starter.tell)
        status = 0
    except Interrupted:
        text = "ended before the disk was attached"
        _send(channel, {"failure": text, "kind": "VofError", "errno": errno.EINTR})
    except VofError as error:
        _send(channel, {"failure": str(error), "kind": type(error).__name__, "errno": error.errno})
    except OSError as error:
        text = f"{error.filename or 'the supervisor'}: {explain(error)}"
        number = error.errno or errno.EIO
        _send(channel, {"failure": text, "kind": "VofError", "errno": number})
    except BaseException as error:
        logging.getLogger(__name__).exception("internal error")
        text = f"internal error: {type(error).__name__}: {error}; please report it"
        _send(channel, {"failure": text, "kind": "VofError", "errno": errno.EIO})
        raise
    finally:
        os._exit(status)


class _Starter:
    """The process that started this supervisor. If it ends before it has heard the outcome, so do
    we."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._heard = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, record: Record) -> None:
        """Tell that the disk is usable. Raises VofError unless that was heard."""
        _send(self._channel, asdict(record))
        self._listener.join()
        if not self._heard:
            raise VofError("whoever started this has gone")
        self._channel.close()

    def _listen(self) -> None:
        with suppress(OSError):
            self._heard = self._channel.recv(1) == _HEARD
        if not self._heard:
            os.kill(os.getpid(), END)


def _send(channel: socket.socket, news: dict[str, object]) -> None:
    try:
        channel.sendall(json.dumps(news).encode() + b"\n")
    except OSError:
        raise VofError("whoever started this has gone") from None


def _close_all_but(fd: int) -> None:
    """Close what the starter had open: a copy of another supervisor's socket would hide its end."""
    for name in [path.name for path in Path("/proc/self/fd").iterdir()]:
        if int(name) > 2 and int(name) != fd:
            with suppress(OSError):
                os.close(int(name))


def _be_silent() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_SIZE, backupCount=1)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
