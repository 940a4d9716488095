# SPDX-License-Identifier: BSD-3-Clause
"""Connected TCP sockets, threads that report what they raised, a look for what was left open."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

PATIENCE = 20.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


def tcp_pair(buffer_size: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Return two connected loopback sockets; ``buffer_size`` keeps their kernel buffers small."""
    with socket.socket() as listener:
        if buffer_size:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near = socket.socket()
        if buffer_size:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)
        near.connect(listener.getsockname())
        far, _address = listener.accept()
    if buffer_size:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def unused_port() -> int:
    """Return a port on which nothing listens, and which was not given to anyone just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def unused_ports(count: int) -> int:
    """Return the first of ``count`` consecutive ports that are free."""
    for _ in range(100):
        base = unused_port()
        try:
            for place in range(count):
                with socket.socket() as sock:
                    sock.bind(("", base + place))
        except (OSError, OverflowError):
            continue
        return base
    raise AssertionError("no free ports")


class Background(Generic[_T]):
    """A call in a thread of its own. ``result`` waits for it and returns or raises its outcome."""

    def __init__(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._function = partial(function, *args, **kwargs)
        self._outcome: _T
        self.error: BaseException | None = None
        # A daemon: one that hangs fails its test, and must not keep the test run from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, patience: float = PATIENCE) -> _T:
        self._thread.join(patience)
        assert not self._thread.is_alive(), "the call did not return"
        if self.error is not None:
            raise self.error
        return self._outcome

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except BaseException as error:  # noqa: BLE001 - result() raises it
            self.error = error


def _threads() -> set[threading.Thread]:
    """The threads there are, without those that trio keeps idle for its next use of one."""
    return {thread for thread in threading.enumerate() if thread.name[:12] != "Trio thread "}


def _sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            link = str(entry.readlink())
        except FileNotFoundError:
            continue
        if link.startswith("socket:"):
            found.add(link)
    return found


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail if threads or sockets that were not there before are there after."""
    threads, sockets = _threads(), _sockets()
    yield
    assert _threads() <= threads, "a thread was left running"
    assert _sockets() <= sockets, f"a socket was left open in process {os.getpid()}"
