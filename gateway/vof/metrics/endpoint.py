# SPDX-License-Identifier: BSD-3-Clause
"""The address of metrics: ``ADDR:PORT``, ``[ADDR]:PORT``, ``unix:/path`` or a path.

Owns that form, listening and connecting there, and what becomes of a Unix socket that somebody has
left behind. Must not know HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from vof.addresses import check_interface, with_port
from vof.errors import ConfigError, ConnectError, VofError

FORM = "ADDR:PORT or unix:/PATH"

MAX_PATH = 107
"""Bytes of a Unix socket's name (unix(7))."""

SOCKET_MODE = 0o660

_BACKLOG = 16
_INTERNET = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


class Endpoint(NamedTuple):
    """One of the two."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Absolute; empty for a TCP port."""

    @classmethod
    def parse(cls, key: str, text: str) -> Endpoint:
        """Return what ``text`` says. Raises ConfigError naming ``key``."""
        path = text.removeprefix("unix:")
        if path != text or ("/" in text and "://" not in text):
            return cls(path=_check_path(key, text, path))
        found = _INTERNET.fullmatch(text)
        if not found:
            raise ConfigError(f"{key}={text}: not {FORM}")
        if int(found["port"]) > 65535:
            raise ConfigError(f"{key}={text}: port {found['port']} is not from 0 to 65535")
        host = found["six"] or found["host"]
        try:
            host.encode("idna")  # what no resolver could be asked for
        except UnicodeError:
            raise ConfigError(f"{key}={text}: not {FORM}; that is no host name") from None
        try:
            check_interface(host)
        except ValueError as error:
            raise ConfigError(f"{key}={text} {error}") from None
        return cls(host, int(found["port"]))

    def __str__(self) -> str:
        if self == NOWHERE:
            return "nowhere"
        if self.path:
            return f"unix:{self.path}"
        return with_port(self.host, self.port)


NOWHERE = Endpoint()


def listen(endpoint: Endpoint) -> socket.socket:
    """Return a listening socket. Raises ConfigError, or VofError where it cannot be had."""
    try:
        if endpoint.path:
            return _listen_unix(endpoint.path)
        return _listen_tcp(endpoint.host, endpoint.port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise VofError(
            f"cannot listen on {endpoint} for metrics: {reason}; free it, or name another place",
            errno=error.errno,
        ) from None


def connect(endpoint: Endpoint, timeout: float) -> socket.socket:
    """Return a connected socket, on which everything takes at most ``timeout`` seconds a time.

    Raises ConnectError.
    """
    try:
        if not endpoint.path:
            return socket.create_connection((endpoint.host, endpoint.port), timeout)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(endpoint.path)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConnectError(f"cannot read metrics from {endpoint}: {reason}") from None
    return sock


def remove(endpoint: Endpoint) -> None:
    """Take away what ``listen`` has left in the file system."""
    if endpoint.path:
        with contextlib.suppress(OSError):
            Path(endpoint.path).unlink()


def _check_path(key: str, text: str, path: str) -> str:
    if not path or "\0" in path or path.endswith("/"):
        raise ConfigError(f"{key}={text}: not {FORM}")
    absolute = str(Path(path).absolute())
    if len(os.fsencode(absolute)) > MAX_PATH:
        raise ConfigError(f"{key}={text}: a socket's name has at most {MAX_PATH} bytes")
    return absolute


def _listen_tcp(host: str, port: int) -> socket.socket:
    # The numeric form first: no name service for an address.
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _name, place in places:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
            sock.listen(_BACKLOG)
        except OSError as error:
            failure = error
            sock.close()
        else:
            return sock
    raise failure


def _listen_unix(path: str) -> socket.socket:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        Path(path).chmod(SOCKET_MODE)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear(path: str) -> None:
    """Remove a socket on which nobody listens any more; leave everything else to fail."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
