# SPDX-License-Identifier: BSD-3-Clause
"""A target in this process that serves over RDMA, and initiators of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guest import rxe
from tests.target.all_devices import all_devices
from tests.target.conftest import Serve, address_of
from tests.target.rdma.association import KeyedAssociation
from vof.target.config import parse
from vof.target.server import Target

EAGER = 64 << 10
"""Of the tests' target: four regions of 16 KiB."""

Attach = Callable[..., KeyedAssociation]


def rdma_config(
    folder: Path, *, transport: object = "rdma", eager: object = EAGER, **changes: object
) -> str:
    """Return the text of a configuration with every device, served over RDMA."""
    values: dict[str, object] = {"address": rxe.FAR.address}
    text = all_devices(folder, **(values | changes))
    return text.replace("[target]", f"[target]\ntransport = {transport}\neager = {eager}", 1)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start targets; keywords change ``[target]``."""
    started: list[Target] = []

    def start(**changes: object) -> Target:
        folder = tmp_path / f"target{len(started)}"
        folder.mkdir()
        target = Target(parse(rdma_config(folder, **changes), "test.conf"))
        target.start()
        started.append(target)
        return target

    yield start
    for target in started:
        target.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images of ``target`` are."""
    return tmp_path_factory.mktemp("target")


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    """What is behind its first disk."""
    return folder / "block0.img"


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[Target]:
    """One for all tests of a module: to start one takes seconds in a guest."""
    with Target(parse(rdma_config(folder), "test.conf")) as started:
        yield started


@pytest.fixture(scope="module")
def address(target: Target) -> tuple[str, int]:
    return address_of(target)


@pytest.fixture
def attach(address: tuple[str, int]) -> Iterator[Attach]:
    """Attach initiators; keywords are those of ``KeyedAssociation``."""
    with ExitStack() as stack:
        yield lambda *names, **how: stack.enter_context(KeyedAssociation(address, *names, **how))
