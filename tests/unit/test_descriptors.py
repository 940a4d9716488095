# SPDX-License-Identifier: BSD-3-Clause
"""Too few file descriptors are told as that, whatever they were wanted for."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from tests.support.shortage import no_descriptors
from vof.descriptors import count_open, limit, none_left, raise_limit, shortage_in
from vof.gateways.fuse import cli

NONE_HERE = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
NONE_AT_ALL = OSError(errno.ENFILE, os.strerror(errno.ENFILE))


def test_none_left() -> None:
    assert none_left() is None
    with no_descriptors():
        found = none_left()
        assert count_open() == limit()
    assert found
    assert found.errno == errno.EMFILE


def test_the_limit_is_raised_as_far_as_it_goes() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
        raise_limit()
        assert limit() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NONE_HERE, "too few file descriptors: this program may have"),
        (NONE_AT_ALL, "the system has no more file descriptors"),
        (ExceptionGroup("", [ExceptionGroup("", [NONE_HERE]), NONE_HERE]), "too few file desc"),
    ],
)
def test_what_means_nothing_else(error: Exception, words: str) -> None:
    assert (shortage_in(error) or "").startswith(words)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.EIO, "x"), ExceptionGroup("", [NONE_HERE, OSError()])]
)
def test_what_means_something_else_too(error: Exception) -> None:
    assert shortage_in(error) is None


def test_a_mount_without_room_for_a_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it loads what could fail for that in its own ways."""
    monkeypatch.setattr(cli, "limit", lambda: 23)
    monkeypatch.setattr(cli, "raise_limit", lambda: None)
    assert cli.main(["a/rng.service", "/mnt"]) == 1
    assert capsys.readouterr().err.startswith("vof-mount: too few file descriptors: ")
