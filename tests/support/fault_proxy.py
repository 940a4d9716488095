# SPDX-License-Identifier: BSD-3-Clause
"""A TCP proxy between an initiator and a target that breaks things at an exact byte.

Each fault names a direction, a connection and a place in that connection's stream, so that a test
says "after 23 bytes to the initiator on the second connection" and gets just that, every time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

PATIENCE = 20.0

_CHUNK = 64 * 1024


class Direction(Enum):
    TO_TARGET = "to the target"
    TO_INITIATOR = "to the initiator"


class Kind(Enum):
    CUT = "both sides are closed in good order, nothing passes any more"
    RESET = "both sides are reset"
    TRUNCATE = "this direction ends; the other goes on"
    STALL = "nothing passes in this direction, nothing is closed"
    REPLACE = "bytes are exchanged for others"


@dataclass(eq=False)
class Fault:
    """One thing to break. ``hit`` is set just before it happens."""

    kind: Kind
    direction: Direction
    offset: int
    """Bytes of the stream that still pass unharmed."""
    connection: int | None = None
    """Number of the connection in the order they were opened; None for every one."""
    replacement: bytes = b""
    """For REPLACE: what to put at ``offset``."""
    hit: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """Listens on a port of its own and passes everything on to ``target_port``, but for the faults.

    A context manager; ``add`` works at any time for bytes that have not passed yet.
    """

    def __init__(self, target_port: int, *faults: Fault, address: str = "127.0.0.1") -> None:
        self._upstream = (address, target_port)
        self._faults = list(faults)
        self._listener = socket.create_server((address, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.passed: dict[tuple[int, Direction], int] = {}
        """Bytes passed, or about to, by (connection, direction)."""
        self._resumed = threading.Event()
        self._pairs: list[_Pair] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def resume(self) -> None:
        """Let the streams that a STALL holds go on, and no later STALL hold any."""
        self._resumed.set()

    def live(self) -> list[int]:
        """Return the numbers of the connections that are open."""
        return [pair.number for pair in list(self._pairs) if pair.open]

    def cut(self, number: int) -> None:
        """Close one connection in good order, wherever its streams are just now."""
        self._pairs[number].shut(socket.SHUT_RDWR)

    def cut_all(self) -> None:
        """Close every connection, as a target does that is killed; new ones are still accepted."""
        for pair in self._pairs:
            pair.shut(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._resumed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                near, _peer = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._upstream)
            except OSError:
                near.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(near, far, len(self._pairs))
            self._pairs.append(pair)
            for direction in Direction:
                thread = threading.Thread(target=self._pass_on, args=(pair, direction), daemon=True)
                self._threads.append(thread)
                thread.start()
            self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _pass_on(self, pair: _Pair, direction: Direction) -> None:
        source, sink = pair.ends(direction)
        with contextlib.suppress(OSError):
            place = 0
            # Before the first byte, too: a fault at 0 lets nothing pass.
            while self._passes(pair, direction, place):
                data = bytearray(source.recv(_CHUNK))
                if pair.reset:
                    break
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    break
                while data:
                    self._replace(pair, direction, place, data)
                    part = data[: self._distance(pair, direction, place)]
                    place += len(part)
                    self.passed[pair.number, direction] = place
                    sink.sendall(part)
                    del data[: len(part)]
                    if data and not self._passes(pair, direction, place):
                        data.clear()
        pair.leave()

    def _faults_of(self, pair: _Pair, direction: Direction) -> list[Fault]:
        return [
            fault
            for fault in self._faults
            if fault.direction is direction and fault.connection in (None, pair.number)
        ]

    def _distance(self, pair: _Pair, direction: Direction, place: int) -> int:
        """Bytes until the next fault, at least 1."""
        offsets = (fault.offset - place for fault in self._faults_of(pair, direction))
        return min((distance for distance in offsets if distance > 0), default=_CHUNK)

    def _replace(self, pair: _Pair, direction: Direction, place: int, data: bytearray) -> None:
        for fault in self._faults_of(pair, direction):
            if fault.kind is Kind.REPLACE and fault.offset == place:
                count = min(len(data), len(fault.replacement))
                data[:count] = fault.replacement[:count]
                fault.hit.set()

    def _passes(self, pair: _Pair, direction: Direction, place: int) -> bool:
        """Do what a fault at ``place`` says; return whether anything may pass after it."""
        for fault in self._faults_of(pair, direction):
            if fault.offset != place or fault.kind is Kind.REPLACE:
                continue
            fault.hit.set()
            if fault.kind is Kind.CUT:
                pair.shut(socket.SHUT_RDWR)
            elif fault.kind is Kind.RESET:
                pair.abort()
            elif fault.kind is Kind.TRUNCATE:
                pair.ends(direction)[1].shutdown(socket.SHUT_WR)
            if fault.kind is not Kind.STALL:
                return False
            self._resumed.wait()
        return True


class _Pair:
    """Two joined connections; the last direction to leave closes them."""

    def __init__(self, near: socket.socket, far: socket.socket, number: int) -> None:
        self.near = near
        self.far = far
        self.number = number
        self.reset = False
        self._mutex = threading.Lock()
        self._directions = len(Direction)

    @property
    def open(self) -> bool:
        """True while either direction is still passed on."""
        return self._directions > 0

    def ends(self, direction: Direction) -> tuple[socket.socket, socket.socket]:
        """Return source and sink of a direction."""
        to_target = direction is Direction.TO_TARGET
        return (self.near, self.far) if to_target else (self.far, self.near)

    def shut(self, how: int) -> None:
        with self._mutex:
            for sock in (self.near, self.far):
                with contextlib.suppress(OSError):
                    sock.shutdown(how)

    def abort(self) -> None:
        """Have both connections reset, once neither direction uses them any more."""
        self.reset = True
        for sock in (self.near, self.far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.shut(socket.SHUT_RD)

    def leave(self) -> None:
        with self._mutex:
            self._directions -= 1
            if not self._directions:
                self.near.close()
                self.far.close()
