# SPDX-License-Identifier: BSD-3-Clause
"""The sessions of one association with a crypto device (virtio 1.2 §5.9.7.2.1).

Owns their number, their keys and their end. A key is copied once, into a buffer that is overwritten
with zeros when the session has ended and its last request is done. What the library and Python have
made of it meanwhile is beyond our reach: they give the memory back, and OpenSSL clears its own.

Ids come from one count for all sessions of a device: none is ever given twice, and one that belongs
to another association is known to nobody here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from vof.target.backends.crypto_interface import CryptoContext
from vof.wire.crypto import BadRequest, Service, Status
from vof.wire.crypto_parameters import HashParameters, Parameters
from vof.wire.structs import Buffer

Prepare = Callable[[Parameters], CryptoContext]


class Session:
    """One session. ``users`` and ``ended`` belong to the table."""

    __slots__ = ("_key", "context", "ended", "parameters", "users")

    def __init__(self, parameters: Parameters, prepare: Prepare) -> None:
        """Raises BadRequest."""
        self._key = bytearray(parameters.key)
        self.parameters = parameters
        if not isinstance(parameters, HashParameters):
            self.parameters = replace(parameters, key=self._key)
        self.users = 0
        self.ended = False
        try:
            self.context: CryptoContext | None = prepare(self.parameters)
        except BaseException:
            self.wipe()
            raise

    def wipe(self) -> None:
        """Overwrite the key."""
        self.context = None
        wipe(memoryview(self._key))


def wipe(key: Buffer) -> None:
    """Overwrite a key with zeros, where it stands in memory that can be written."""
    view = memoryview(key)
    if not view.readonly:
        view[:] = bytes(len(view))


class SessionTable:
    """All of one association's sessions. Used by several threads at once."""

    def __init__(self, limit: int, next_id: Callable[[], int]) -> None:
        self._limit = limit
        self._next_id = next_id
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}
        self._in_the_making = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, parameters: Parameters, prepare: Prepare) -> int:
        """Return a new session's id. Raises BadRequest: NOSPC where there are as many as there may
        be, and what ``prepare`` raises.
        """
        with self._lock:
            if len(self._sessions) + self._in_the_making >= self._limit:
                raise BadRequest(Status.NOSPC, f"{self._limit} sessions are the limit")
            self._in_the_making += 1
        try:
            session = Session(parameters, prepare)
        except BaseException:
            with self._lock:
                self._in_the_making -= 1
            raise
        with self._lock:
            self._in_the_making -= 1
            session_id = self._next_id()
            self._sessions[session_id] = session
        return session_id

    def destroy(self, service: Service, session_id: int) -> None:
        """End a session. Raises BadRequest where there is no such session of this service."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or session.parameters.service != service:
                raise BadRequest(Status.ERR, f"there is no session {session_id} of {service.name}")
            del self._sessions[session_id]
            self._end(session)

    def clear(self) -> None:
        """End all of them."""
        with self._lock:
            for session in self._sessions.values():
                self._end(session)
            self._sessions.clear()

    @contextmanager
    def use(self, session_id: int) -> Iterator[Session]:
        """Keep a session from being wiped meanwhile. Raises BadRequest where there is none."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                raise BadRequest(Status.INVSESS, f"there is no session {session_id}")
            session.users += 1
        try:
            yield session
        finally:
            with self._lock:
                session.users -= 1
                if session.ended and not session.users:
                    session.wipe()

    def _end(self, session: Session) -> None:
        session.ended = True
        if not session.users:
            session.wipe()
