# SPDX-License-Identifier: BSD-3-Clause
"""A target in this process, and innocent initiators whose work must go on whatever a test does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.implementations import implementation, on_both
from tests.target.peer import BLOCK0, BLOCK1, IN, OK, OUT, Association
from vof.target.config import parse
from vof.target.server import Target

__all__ = ["implementation"]

Serve = Callable[..., Target]

PYTHON_ONLY = ("rng", "crypto", "rdma", "trace")
"""What stands in the names of modules of which there is no native data path."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test has the target serve by Python alone, and once more with the native data path."""
    if not any(name in metafunc.module.__name__ for name in PYTHON_ONLY):
        on_both(metafunc)


CONFIG = """
[target]
address = {address}
port = 0
threads = {threads}
targets = {targets}
connections = {connections}
handshake_timeout = {handshake_timeout}
send_timeout = {send_timeout}

[block0]
tvqn = virtio-target/block/block0.service
model = block
backend = driver=block-posix,path={folder}/block0.img,queues=4,serial=vof-000001

[block1]
tvqn = virtio-target/block/block1.service
model = block
backend = driver=block-memory,size=4M,serial=vof-000002

[block2]
tvqn = virtio-target/block/block2.service
model = block
backend = driver=block-memory,size=64M,queues=2,serial=vof-000003
"""


def write_config(folder: Path, **changes: object) -> str:
    """Return the text of the tests' configuration, its image made."""
    values: dict[str, object] = {
        "address": "127.0.0.1",
        "threads": 1,
        "targets": 128,
        "connections": 1024,
        "handshake_timeout": 20,
        "send_timeout": 20,
        "folder": folder,
    }
    with (folder / "block0.img").open("ab") as image:
        image.truncate(4 << 20)
    return CONFIG.format_map(values | changes)


def config_file(folder: Path, *, replace: tuple[str, str] = ("", ""), add: str = "") -> Path:
    path = folder / "vtgt.conf"
    text = write_config(folder)
    assert replace[0] in text
    path.write_text(text.replace(*replace) + add, encoding="utf-8")
    return path


def address_of(target: Target) -> tuple[str, int]:
    return target.address, target.port


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start targets with the tests' devices; keywords change ``[target]``."""
    started: list[Target] = []

    def start(**changes: object) -> Target:
        folder = tmp_path / f"target{len(started)}"
        folder.mkdir()
        target = Target(parse(write_config(folder, **changes), "test.conf"))
        target.start()
        started.append(target)
        return target

    yield start
    for target in started:
        target.stop()


@pytest.fixture
def target(serve: Serve) -> Target:
    return serve()


@pytest.fixture
def address(target: Target) -> tuple[str, int]:
    return address_of(target)


class Innocent:
    """Initiators that do nothing wrong: one at the same device as the offender, one at another."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._round = 0
        self._associations: list[Association] = []
        try:
            for tvqn, queues in ((BLOCK0, 2), (BLOCK1, 1)):
                self._associations.append(Association(address, tvqn, queues=queues))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check(self) -> None:
        """Write and read on every queue that was connected before whatever happened."""
        for association in self._associations:
            assert association.control.control(0x1001) == 2
            for index, queue in enumerate(association.queues):
                self._round += 1
                data = self._round.to_bytes(2, "little") * 512
                sector = 1000 + 2 * index
                assert queue.request(OUT, sector, data) == (OK, b"")
                assert queue.request(IN, sector, room=len(data)) == (OK, data)

    def close(self) -> None:
        for association in self._associations:
            association.close()


@pytest.fixture
def innocent(address: tuple[str, int]) -> Iterator[Innocent]:
    """Check the innocent initiators before a test, when it asks for it, and after it."""
    with Innocent(address) as them:
        yield them
        them.check()


class Log:
    """What the target has logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self, name: str) -> list[str]:
        """Return the lines of one kind of event."""
        found = [record.getMessage() for record in self._caplog.records]
        assert all("\n" not in line for line in found)
        # What stands in quotes came from a peer.
        bare = [re.sub(r'"(\\.|[^"\\])*"', "", line).split() for line in found]
        return [line for line, words in zip(found, bare, strict=True) if f"event={name}" in words]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.DEBUG, "vof")
    return Log(caplog)
