# SPDX-License-Identifier: BSD-3-Clause
"""A target without pyverbs."""

from __future__ import annotations

import errno
import logging
import sys

import pytest

from vof.errors import VofError
from vof.target.config import Settings
from vof.target.listening import check
from vof.target.rdma.loading import load

OURS = [
    "acceptor",
    "connection",
    "endpoint",
    "handshake",
    "listener",
    "verbs",
    "work_requests",
]


@pytest.fixture
def no_pyverbs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "pyverbs":
            monkeypatch.delitem(sys.modules, name)
    for name in OURS:
        monkeypatch.delitem(sys.modules, f"vof.target.rdma.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "pyverbs", None)


@pytest.mark.usefixtures("no_pyverbs")
@pytest.mark.parametrize("transport", ["rdma", "tcp,rdma"])
def test_the_message_says_what_is_missing_and_what_to_do(transport: str) -> None:
    with pytest.raises(VofError) as caught:
        check(Settings(transport=transport))
    assert str(caught.value) == (
        "transport = rdma needs pyverbs, which is not there; install the package "
        "python3-pyverbs, or take rdma out of transport in [target]"
    )
    assert caught.value.errno == errno.ENOPKG


@pytest.mark.usefixtures("no_pyverbs")
def test_others_do_without() -> None:
    check(Settings(transport="tcp"))


@pytest.mark.usefixtures("no_pyverbs")
def test_another_module_that_is_missing_is_a_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vof.target.rdma.handshake", None)
    monkeypatch.delitem(sys.modules, "pyverbs")
    with pytest.raises(ImportError):
        load()


def test_logging_is_left_alone() -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    loaded = load()
    assert loaded.listen.__name__ == "listen"
    assert (root.level, list(root.handlers)) == before
