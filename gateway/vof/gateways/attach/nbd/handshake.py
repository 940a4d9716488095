# SPDX-License-Identifier: BSD-3-Clause
"""The NBD handshake with nbdkit, up to where the kernel's driver takes over.

The kernel knows NBD's transmission only; negotiating is for user space (the NBD protocol's
doc/proto.md, "Fixed newstyle negotiation", NBD_OPT_GO). Asks for the default export. Must not know
nbdkit's process, nor the kernel.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from vof.errors import VofError

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_REPLY = struct.Struct(">QIII")
_EXPORT = struct.Struct(">HQH")

_MAGIC = b"NBDMAGIC"
_OPTION_MAGIC = b"IHAVEOPT"
_REPLY_MAGIC = 0x3E889045565A9

_FIXED_NEWSTYLE = 1
_NO_ZEROES = 2
_OPT_GO = 7
_REP_ACK = 1
_REP_INFO = 3
_REP_ERROR = 1 << 31
_INFO_EXPORT = 0

_LONGEST_REPLY = 1 << 16

READ_ONLY = 1 << 1
"""NBD_FLAG_READ_ONLY."""


@dataclass(frozen=True)
class Connection:
    """One NBD connection, ready for transmission."""

    socket: socket.socket
    size: int
    """Of the export, in bytes."""
    flags: int
    """NBD's transmission flags."""


def shake_hands(path: Path, timeout: float) -> Connection:
    """Return a connection to what is served at the unix socket.

    ``timeout`` is in seconds, for each answer. Raises VofError.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(str(path))
        size, flags = _negotiate(sock)
        sock.settimeout(None)
        return Connection(sock, size, flags)
    except TimeoutError:
        sock.close()
        raise VofError(f"nbdkit does not answer within {timeout:g} s") from None
    except OSError as error:
        sock.close()
        raise VofError(f"no NBD connection to nbdkit: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise


def _negotiate(sock: socket.socket) -> tuple[int, int]:
    magic, option_magic, offered = _GREETING.unpack(_receive(sock, _GREETING.size))
    if (magic, option_magic) != (_MAGIC, _OPTION_MAGIC) or not offered & _FIXED_NEWSTYLE:
        raise VofError("what answers at nbdkit's socket does not speak NBD (fixed newstyle)")
    go = struct.pack(">IH", 0, 0)  # the default export, no information asked for
    sock.sendall(
        struct.pack(">I", _FIXED_NEWSTYLE | (offered & _NO_ZEROES))
        + _OPTION.pack(_OPTION_MAGIC, _OPT_GO, len(go))
        + go
    )
    found: tuple[int, int] | None = None
    while True:
        magic, option, kind, length = _REPLY.unpack(_receive(sock, _REPLY.size))
        if magic != _REPLY_MAGIC or option != _OPT_GO or length > _LONGEST_REPLY:
            raise VofError("nbdkit breaks the NBD protocol in the handshake")
        data = _receive(sock, length)
        if kind & _REP_ERROR:
            words = data.decode(errors="replace").strip() or f"NBD error {kind & ~_REP_ERROR}"
            raise VofError(f"nbdkit refuses the connection: {words}")
        if kind == _REP_ACK:
            if found is None:
                raise VofError("nbdkit does not tell the size of the disk")
            return found
        if kind == _REP_INFO and len(data) == _EXPORT.size:
            info, size, flags = _EXPORT.unpack(data)
            if info == _INFO_EXPORT:
                found = size, flags


def _receive(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise VofError("nbdkit closed the connection in the NBD handshake")
        data += part
    return bytes(data)
