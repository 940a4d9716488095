# SPDX-License-Identifier: BSD-3-Clause
"""The error tree of every layer.

    VofError                     errno
    ├── ConfigError              EINVAL     what the user wrote cannot be used
    │   └── WrongDevice          EINVAL     it names a device of another type
    ├── ConnectError             as it was  the target could not be reached, or refused the Connect
    ├── SessionLost              ESHUTDOWN  the association is gone; later requests fail at once
    │   ├── NoAnswer             ESHUTDOWN  it is gone because a command was not answered in time
    │   └── RemoteProtocolError  EPROTO     it is gone because the peer broke the protocol
    ├── LocalProtocolError       EINVAL     we were asked for what protocol or device forbid
    ├── CompletionError          status     the target answered a command with a non-zero status
    └── DeviceError              EIO, …     the device ended a request with a non-zero status byte

Owns the classes and the errno each carries. Knows nothing of NBD or FUSE: each gateway has one
function that turns an errno into what its edge can carry.
"""

from __future__ import annotations

import errno
import os


class VofError(Exception):
    """Root of the tree. ``errno`` is the Linux error number that fits best."""

    errno: int = errno.EIO

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        if errno is not None:
            self.errno = errno

    def again(self) -> VofError:
        """Return an equal error without this one's traceback, to raise where the first was not
        seen."""
        copy = self.__class__.__new__(self.__class__, *self.args)
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        return copy


class ConfigError(VofError):
    """A parameter, a configuration file or a name is not usable; the message says which and why."""

    errno = errno.EINVAL


class WrongDevice(ConfigError):
    """The target's device is of another type than what it was to be used for."""


class ConnectError(VofError):
    """No association could be made: not reachable, not a target, or the Connect was refused."""

    errno = errno.ECONNREFUSED


class SessionLost(VofError):
    """The association ended under its requests; raised by each of them and by every later one."""

    errno = errno.ESHUTDOWN


class NoAnswer(SessionLost):
    """A command was not answered in the time it had."""


class RemoteProtocolError(SessionLost):
    """The peer sent what the protocol forbids. Fatal to the association, never to the process."""

    errno = errno.EPROTO


class LocalProtocolError(VofError):
    """The request is one that must not be sent: not offered by the device, or beyond its limits."""

    errno = errno.EINVAL


class CompletionError(VofError):
    """A completion carried a non-zero status.

    ``status`` keeps the number as it was received; what it says, and which errno fits, depends on
    the revision of the protocol (``wire.status``).
    """

    def __init__(self, message: str, status: int, *, errno: int = errno.EIO) -> None:
        super().__init__(message, errno=errno)
        self.status = status


def errno_words(number: int) -> str:
    """Return the name and the words of a Linux errno number."""
    return f"{errno.errorcode[number]} ({os.strerror(number)})"


class DeviceError(VofError):
    """The device completed a request with an error in the virtio status byte.

    ``status`` is that byte; ``errno`` is ENOTSUP where the device does not know the request, else
    EIO.
    """

    def __init__(self, message: str, status: int, *, errno: int = errno.EIO) -> None:
        super().__init__(message, errno=errno)
        self.status = status
