# SPDX-License-Identifier: BSD-3-Clause
"""The error tree: who is whose, and which errno each carries."""

from __future__ import annotations

import errno
import inspect

import pytest

from vof import errors
from vof.errors import (
    CompletionError,
    ConfigError,
    ConnectError,
    DeviceError,
    LocalProtocolError,
    NoAnswer,
    RemoteProtocolError,
    SessionLost,
    VofError,
    WrongDevice,
)


@pytest.mark.parametrize(
    ("error", "parent", "number"),
    [
        (VofError("x"), Exception, errno.EIO),
        (ConfigError("x"), VofError, errno.EINVAL),
        (WrongDevice("x"), ConfigError, errno.EINVAL),
        (ConnectError("x"), VofError, errno.ECONNREFUSED),
        (SessionLost("x"), VofError, errno.ESHUTDOWN),
        (RemoteProtocolError("x"), SessionLost, errno.EPROTO),
        (LocalProtocolError("x"), VofError, errno.EINVAL),
        (CompletionError("x", 7, errno=errno.EBUSY), VofError, errno.EBUSY),
        (NoAnswer("x"), SessionLost, errno.ESHUTDOWN),
        (DeviceError("x", 1), VofError, errno.EIO),
    ],
)
def test_tree(error: VofError, parent: type[Exception], number: int) -> None:
    assert type(error).__bases__ == (parent,)
    assert error.errno == number


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    classes = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, VofError)
    }
    drawn = inspect.getdoc(errors)
    assert drawn is not None
    words = {line.strip("│├└─ ").partition(" ")[0] for line in drawn.splitlines()}
    assert classes - words == set()


def test_an_errno_of_its_own() -> None:
    error = ConnectError("no route", errno=errno.EHOSTUNREACH)
    assert error.errno == errno.EHOSTUNREACH
    assert ConnectError("x").errno == errno.ECONNREFUSED
    assert str(error) == "no route"


def test_device_status() -> None:
    error = DeviceError("discard", 2, errno=errno.ENOTSUP)
    assert (error.status, error.errno, str(error)) == (2, errno.ENOTSUP, "discard")


@pytest.mark.parametrize(
    "error",
    [
        VofError("a", errno=errno.ENOSPC),
        SessionLost("b"),
        RemoteProtocolError("c"),
        CompletionError("d", 16),
        DeviceError("e", 2, errno=errno.ENOTSUP),
    ],
)
def test_again(error: VofError) -> None:
    with pytest.raises(type(error)):
        raise error
    copy = error.again()
    assert copy is not error
    assert type(copy) is type(error)
    assert (copy.args, copy.errno, vars(copy)) == (error.args, error.errno, vars(error))
    assert str(copy) == str(error)
    assert copy.__traceback__ is None
    assert error.__traceback__ is not None
