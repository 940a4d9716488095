# SPDX-License-Identifier: BSD-3-Clause
"""Tells whoever supervises a gateway how its session stands (ours).

Owns the records and the writing end. Each is one message of a connected socket (AF_UNIX,
SOCK_SEQPACKET), whose descriptor the gateway has inherited, and says all there is: the last one
counts, so those that nobody could take are left out. Within ``SCHEMA`` keys may be added, and none
goes or changes its meaning. Must not know what a supervisor makes of them.

An idle session is looked at, too: without requests nobody would notice that its connections ended.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import threading
from dataclasses import asdict, dataclass, fields, replace

from vof.errors import ConfigError, VofError
from vof.gateways.disk import Disk
from vof.initiator.session import Session, State

SCHEMA = 1

CONNECTED, LOST = "connected", "lost"

LARGEST = 64 << 10
"""Bytes of a record."""

LOOK_INTERVAL = 1.0
"""Seconds between two looks at an idle session."""


@dataclass(frozen=True)
class SessionStatus:
    """One record."""

    state: str
    """``connected`` or ``lost``."""
    since: str
    """When it came to be so: ISO 8601, UTC."""
    size: int
    """Bytes of the disk."""
    reason: str = ""
    """Why the session was lost."""
    fast_path: bool = False
    fast_path_reason: str = ""
    """Why requests do not take the fast path."""

    def encode(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **asdict(self)}).encode()

    @classmethod
    def decode(cls, data: bytes) -> SessionStatus | None:
        """Return what a record says; None for one of another version that cannot be read."""
        try:
            found = json.loads(data)
            if found.pop("schema") != SCHEMA:
                return None
            known = {each.name for each in fields(cls)}
            return cls(**{key: value for key, value in found.items() if key in known})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def now() -> str:
    """Return the time as records have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class StatusWriter:
    """The writing end, which follows one session at a time. From any thread; nothing waits."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor belongs to this object from now on. Raises ConfigError if it is no such
        socket."""
        try:
            self._socket = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigError(f"status_fd={descriptor}: {error.strerror}") from None
        if (self._socket.family, self._socket.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            self._socket.detach()
            raise ConfigError(f"status_fd={descriptor}: not a Unix socket of type SOCK_SEQPACKET")
        self._socket.set_inheritable(False)
        self._changed = threading.Condition()
        self._session: Session | None = None
        self._status: SessionStatus | None = None
        self._unsent = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="vof-status", daemon=True)

    def start(self) -> None:
        """Begin to tell and to look, in the process that serves."""
        self._thread.start()

    def stop(self) -> None:
        """End. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # for who sends
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def opened(self, disk: Disk, fast_path_reason: str) -> None:
        """Tell that a disk is served, by the fast path unless there is a reason against that."""
        session = disk.driver.session
        with self._changed:
            if session is self._session:
                return
            self._session = session
            fast_path = not fast_path_reason
            self._tell(SessionStatus(CONNECTED, now(), disk.size, "", fast_path, fast_path_reason))
            if session.error is not None:
                self.ended(session, session.error)

    def resized(self, session: Session, size: int) -> None:
        """Tell that the disk has another size."""
        with self._changed:
            if session is self._session and self._status is not None:
                self._tell(replace(self._status, size=size))

    def ended(self, session: Session, error: VofError) -> None:
        """Tell that a session was lost, and ``error`` is why; one that we have closed is not."""
        with self._changed:
            if session is not self._session or session.state is not State.LOST:
                return
            if self._status is not None and self._status.state != LOST:
                self._tell(replace(self._status, state=LOST, since=now(), reason=str(error)))

    def _tell(self, status: SessionStatus) -> None:
        self._status = status
        self._unsent = True
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unsent or self._stopping, LOOK_INTERVAL)
                if self._stopping:
                    return
                session, status, unsent = self._session, self._status, self._unsent
                self._unsent = False
            if unsent and status is not None:
                try:
                    self._socket.send(status.encode(), socket.MSG_NOSIGNAL)
                except OSError:
                    return  # there is no supervisor any more
            elif session is not None:
                session.look()
