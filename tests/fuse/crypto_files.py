# SPDX-License-Identifier: BSD-3-Clause
"""A mounted crypto device of a real target, and its sessions as a user makes them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.mounting import Mount, clear_away
from tests.target.process import TargetProcess

TVQN = "virtio-target/crypto/crypto0.service"

CONFIG = """
[target]
port = 0
threads = 2

[crypto]
tvqn = virtio-target/crypto/crypto0.service
model = crypto
backend = driver=crypto-openssl,queues=2
"""


class CryptoSession:
    """A folder in ``sessions``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, name: str, value: bytes | str) -> None:
        """Write an attribute, in one write."""
        data = value.encode() if isinstance(value, str) else value
        fd = os.open(self.path / name, os.O_WRONLY)
        try:
            assert os.write(fd, data) == len(data)
        finally:
            os.close(fd)

    def get(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def open(self, operation: str, flags: int = os.O_RDWR) -> int:
        return os.open(self.path / operation, flags)

    def run(self, operation: str, *parts: bytes) -> bytes:
        """Do an operation: each part is one write."""
        fd = self.open(operation)
        try:
            for part in parts:
                place = 0
                while place < len(part):
                    place += os.write(fd, part[place:])
            return read_all(fd)
        finally:
            os.close(fd)

    def status(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.get("status").splitlines())

    def failure(self) -> str:
        return self.status()["last_failure"]


def read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


class CryptoFiles:
    """The mount, the target behind it, and a maker of sessions."""

    def __init__(self, mount: Mount, target: TargetProcess) -> None:
        self.mount = mount
        self.target = target
        self.device = mount / "crypto0"
        self.sessions = self.device / "sessions"
        self._names = (f"session-{number}" for number in itertools.count())

    @contextlib.contextmanager
    def session(
        self, algorithm: str = "", key: bytes | None = None, **attributes: str | int | bytes
    ) -> Iterator[CryptoSession]:
        """Make a session and remove it at the end. Attributes of bytes are told in hexadecimal."""
        path = self.sessions / next(self._names)
        path.mkdir()
        session = CryptoSession(path)
        try:
            if algorithm:
                session.set("algorithm", f"{algorithm}\n")
            if key is not None:
                session.set("key", key)
            for name, value in attributes.items():
                session.set(name, value.hex() if isinstance(value, bytes) else str(value))
            yield session
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()

    def algorithms(self) -> dict[str, dict[str, str]]:
        """Return what is offered: name, then its pairs."""
        text = (self.device / "algorithms").read_text(encoding="utf-8")
        lines = (line.split() for line in text.splitlines())
        return {name: dict(pair.split("=", 1) for pair in pairs) for name, *pairs in lines}


@contextlib.contextmanager
def mounted_crypto(folder: Path) -> Iterator[CryptoFiles]:
    """Start a target and mount its crypto device; ``folder`` is to hold all that takes."""
    config = folder / "target.conf"
    config.write_text(CONFIG, encoding="utf-8")
    with TargetProcess(config) as target:
        mountpoint = folder / "mnt"
        try:
            with Mount(mountpoint, TVQN, tport=target.address[1]) as mount:
                yield CryptoFiles(mount, target)
        finally:
            clear_away(mountpoint)


@pytest.fixture(scope="module")
def crypto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CryptoFiles]:
    """A mounted crypto device for all tests of a module."""
    with mounted_crypto(tmp_path_factory.mktemp("crypto")) as files:
        yield files
