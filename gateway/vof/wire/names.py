# SPDX-License-Identifier: BSD-3-Clause
"""Virtio qualified names: the ivqn of an initiator and the tvqn of a target's device.

On the wire a name is 256 bytes, NUL-padded (*v2*, "Connect Command"). We send at most 255 bytes and
a NUL, and accept a peer's 256 bytes without one.
"""

from __future__ import annotations

import uuid

from vof.errors import ConfigError, RemoteProtocolError

NAME_SIZE = 256
"""Bytes of a name field."""

MAX_NAME_LENGTH = NAME_SIZE - 1
"""Bytes of the longest name we send."""


def check_name(kind: str, name: str) -> str:
    """Return ``name`` where it can be sent as an ivqn or tvqn.

    ``kind`` says which, for the message. Raises ConfigError for an empty name, one of more than 255
    bytes in UTF-8, or one with a NUL.
    """
    if not name:
        raise ConfigError(f"{kind} is empty")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"{kind} is not valid UTF-8") from None
    if length > MAX_NAME_LENGTH:
        raise ConfigError(f"{kind} is {length} bytes long; at most {MAX_NAME_LENGTH} are allowed")
    if "\0" in name:
        raise ConfigError(f"{kind} contains a NUL")
    return name


def encode_name(name: str) -> bytes:
    """Return the 256 bytes of a checked name."""
    return name.encode().ljust(NAME_SIZE, b"\0")


def decode_name(field: bytes) -> str:
    """Return the name in a 256-byte field. Raises RemoteProtocolError if it is not UTF-8."""
    try:
        return field.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a name in the connect body is not UTF-8") from None


def random_ivqn() -> str:
    """Return a new initiator name, ``vqn.uuid:<uuid4>``."""
    return f"vqn.uuid:{uuid.uuid4()}"
