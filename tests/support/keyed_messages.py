# SPDX-License-Identifier: BSD-3-Clause
"""Messages of keyed transmission, for peers with RDMA and without."""

from __future__ import annotations

from collections.abc import Sequence

from vof.wire.dialect import V5, Dialect
from vof.wire.keyed import encode_keyed_vq, encode_keyed_vring
from vof.wire.v5 import KeyedDescriptor


def keyed_request(
    dialect: Dialect,
    command_id: int,
    readable: Sequence[KeyedDescriptor],
    writable: Sequence[KeyedDescriptor],
) -> bytes:
    """The message of a request in a dialect."""
    if dialect is V5:
        out_length = sum(item.length for item in readable)
        return encode_keyed_vq(command_id, out_length, [*readable, *writable])
    return encode_keyed_vring(dialect.framing, command_id, readable, writable)
