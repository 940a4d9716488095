# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's nbd driver, by its generic netlink family "nbd".

Owns the family's messages (linux/nbd-netlink.h) and as much of netlink as they take
(linux/netlink.h, linux/genetlink.h): a request, its answer, its acknowledgement. Each request is
carried out while it is being sent, so there is nothing to wait for afterwards.

Written out, not taken from a library: a disconnect must work, and soon, on a machine that is in
trouble, and the library for all of netlink loads two hundred modules first.

Must not know what is at the other end of the sockets it passes on.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from types import TracebackType

from vof.errors import ConfigError, VofError

FAMILY = "nbd"
_VERSION = 1


class Command(IntEnum):
    """NBD_CMD_…"""

    CONNECT = 1
    DISCONNECT = 2
    RECONFIGURE = 3


class Attribute(IntEnum):
    """NBD_ATTR_…"""

    INDEX = 1
    SIZE_BYTES = 2
    BLOCK_SIZE_BYTES = 3
    TIMEOUT = 4
    SERVER_FLAGS = 5
    CLIENT_FLAGS = 6
    SOCKETS = 7
    DEAD_CONN_TIMEOUT = 8
    BACKEND_IDENTIFIER = 10


_SOCK_ITEM = 1
_SOCK_FD = 1

_NETLINK_GENERIC = 16

# The family that tells of families (nlctrl).
_CONTROL = 0x10
_GET_FAMILY = 3
_FAMILY_ID = 1
_FAMILY_NAME = 2

_REQUEST = 0x1
_ACK = 0x4
_ERROR = 2
_DONE = 3

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr
_GENERIC = struct.Struct("=BBH")  # struct genlmsghdr
_HEADER = struct.Struct("=HH")  # struct nlattr
_NESTED = 0x8000
_LARGEST = 1 << 16

NO_NBD = (
    "this kernel has no nbd driver: load it (modprobe nbd), or install a kernel that has one "
    "(Debian: linux-image-amd64); `vof-mount TVQN MOUNTPOINT` serves the disk as a file without it"
)


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded."""
    size = _HEADER.size + len(payload)
    return _HEADER.pack(size, kind) + payload + bytes(-size % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and payload of each attribute. Raises VofError for what is not a list of them."""
    while data:
        if len(data) < _HEADER.size:
            raise VofError("the kernel's answer ends within an attribute")
        size, kind = _HEADER.unpack_from(data)
        if not _HEADER.size <= size <= len(data):
            raise VofError(f"the kernel's answer has an attribute of {size} bytes")
        yield kind & ~_NESTED, data[_HEADER.size : size]
        data = data[size + -size % 4 :]


def sockets_attribute(fds: Iterable[int]) -> bytes:
    """Return NBD_ATTR_SOCKETS."""
    items = (attribute(_SOCK_ITEM, attribute(_SOCK_FD, _u32(fd))) for fd in fds)
    return attribute(Attribute.SOCKETS, b"".join(items))


class NbdNetlink:
    """A netlink socket for the family. Any of its requests may raise VofError, ConfigError for
    what the user can change; ``errno`` is the kernel's."""

    def __init__(self) -> None:
        """Raises ConfigError where the kernel has no nbd, or no netlink."""
        self._sequence = 0
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC
            )
            self._socket.bind((0, 0))
        except OSError as error:
            raise ConfigError(f"no generic netlink here: {error.strerror}") from None
        try:
            self._family = self._find_family()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NbdNetlink:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def connect(
        self,
        index: int | None,
        *,
        sockets: Sequence[socket.socket],
        size: int,
        block_size: int,
        flags: int,
        timeout: int,
        dead_timeout: int,
        identifier: str,
    ) -> int:
        """Attach the sockets, which are past NBD's handshake; return the device's number.

        ``index`` is the device wanted, None for any that is free. ``timeout`` and ``dead_timeout``
        are in seconds; see `plan` for what they do. Raises ConfigError with EBUSY if the device is
        in use.
        """
        wanted = b"" if index is None else attribute(Attribute.INDEX, _u32(index))
        answer = self._request(
            Command.CONNECT,
            wanted
            + attribute(Attribute.SIZE_BYTES, _u64(size))
            + attribute(Attribute.BLOCK_SIZE_BYTES, _u64(block_size))
            + attribute(Attribute.SERVER_FLAGS, _u64(flags))
            + attribute(Attribute.TIMEOUT, _u64(timeout))
            + attribute(Attribute.DEAD_CONN_TIMEOUT, _u64(dead_timeout))
            + attribute(Attribute.CLIENT_FLAGS, _u64(0))
            + sockets_attribute(each.fileno() for each in sockets)
            + attribute(Attribute.BACKEND_IDENTIFIER, identifier.encode() + b"\0"),
            "attach the disk" if index is None else f"attach the disk to /dev/nbd{index}",
        )
        for kind, payload in attributes(answer):
            if kind == Attribute.INDEX and len(payload) == 4:
                return int.from_bytes(payload, "little" if _LITTLE else "big")
        raise VofError("the kernel does not tell which nbd device it took")

    def reconfigure(
        self,
        index: int,
        *,
        sockets: Sequence[socket.socket],
        size: int,
        dead_timeout: int,
        identifier: str,
    ) -> None:
        """Put the sockets in the place of dead ones. There may be fewer than were attached."""
        self._request(
            Command.RECONFIGURE,
            attribute(Attribute.INDEX, _u32(index))
            + attribute(Attribute.SIZE_BYTES, _u64(size))
            + attribute(Attribute.DEAD_CONN_TIMEOUT, _u64(dead_timeout))
            + sockets_attribute(each.fileno() for each in sockets)
            + attribute(Attribute.BACKEND_IDENTIFIER, identifier.encode() + b"\0"),
            f"give /dev/nbd{index} new connections",
        )

    def resize(self, index: int, size: int, identifier: str) -> None:
        """Give the device another size, whoever has it open."""
        self._request(
            Command.RECONFIGURE,
            attribute(Attribute.INDEX, _u32(index))
            + attribute(Attribute.SIZE_BYTES, _u64(size))
            + attribute(Attribute.BACKEND_IDENTIFIER, identifier.encode() + b"\0"),
            f"resize /dev/nbd{index}",
        )

    def disconnect(self, index: int) -> None:
        """Detach the device; what is in flight fails. Nothing happens to one that is free."""
        what = f"detach /dev/nbd{index}"
        self._request(Command.DISCONNECT, attribute(Attribute.INDEX, _u32(index)), what)

    def _find_family(self) -> int:
        name = attribute(_FAMILY_NAME, FAMILY.encode() + b"\0")
        try:
            answer = self._exchange(_CONTROL, _GET_FAMILY, name)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise ConfigError(NO_NBD, errno=errno.ENODEV) from None
            raise VofError(f"cannot look for nbd: {error.strerror}", errno=error.errno) from None
        for kind, payload in attributes(answer):
            if kind == _FAMILY_ID and len(payload) == 2:
                return int.from_bytes(payload, "little" if _LITTLE else "big")
        raise ConfigError(NO_NBD, errno=errno.ENODEV)

    def _request(self, command: Command, payload: bytes, what: str) -> bytes:
        try:
            return self._exchange(self._family, command, payload)
        except OSError as error:
            if error.errno in {errno.EPERM, errno.EACCES}:
                raise ConfigError(
                    f"cannot {what}: it takes root (CAP_SYS_ADMIN); try it with sudo",
                    errno=errno.EPERM,
                ) from None
            if error.errno == errno.EBUSY:
                raise ConfigError(
                    f"cannot {what}: it is in use; choose another, or leave out --device",
                    errno=errno.EBUSY,
                ) from None
            raise VofError(f"cannot {what}: {error.strerror}", errno=error.errno) from None

    def _exchange(self, family: int, command: int, payload: bytes) -> bytes:
        """Return the attributes of the answer, none if there is only the acknowledgement."""
        self._sequence += 1
        body = _GENERIC.pack(command, _VERSION, 0) + payload
        size = _MESSAGE.size + len(body)
        header = _MESSAGE.pack(size, family, _REQUEST | _ACK, self._sequence, 0)
        self._socket.sendto(header + body, (0, 0))
        found = b""
        while True:
            data = self._socket.recv(_LARGEST)
            for kind, sequence, message in _messages(data):
                if sequence != self._sequence:
                    continue
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", message)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return found
                if kind != _DONE:
                    found += message[_GENERIC.size :]


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, sequence number and content of each message in a datagram."""
    while len(data) >= _MESSAGE.size:
        size, kind, _flags, sequence, _port = _MESSAGE.unpack_from(data)
        if not _MESSAGE.size <= size <= len(data):
            raise VofError(f"the kernel sent a netlink message of {size} bytes")
        yield kind, sequence, data[_MESSAGE.size : size]
        data = data[size + -size % 4 :]


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _u64(number: int) -> bytes:
    return struct.pack("=Q", number)
