# SPDX-License-Identifier: BSD-3-Clause
"""virtio-rng (virtio 1.2 §5.4): one queue, no feature bits, no config space, no request header.

A request is a single device-writable buffer, and its answer is how much of it the device filled
from its beginning. §5.4.6 allows several buffers; both known programs send one, and the reference
target refuses two. Must not know where randomness comes from, nor what is done with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import RemoteProtocolError

REQUEST_QUEUE = 0
"""§5.4.2: the only virtqueue."""

NUM_QUEUES = 1

CONFIG_SIZE = 0
"""Bytes of the config space: §5.4.4 defines none."""


def request_size(readable: int, writable: Sequence[int]) -> int:
    """Return how many bytes a request asks for; for the device.

    ``readable`` is the number of its device-readable bytes, ``writable`` the lengths of its
    device-writable buffers. Raises RemoteProtocolError for anything but one buffer to be filled:
    such a request has no status byte that could carry an error. A device fills at least one byte
    (§5.4.6.2); the Linux initiator waits for ever where nothing comes back.
    """
    if readable:
        raise RemoteProtocolError(f"an entropy request has {readable} device-readable bytes")
    if len(writable) != 1 or not writable[0]:
        raise RemoteProtocolError(
            f"an entropy request has device-writable buffers of {list(writable)} bytes; one that "
            "is not empty is wanted"
        )
    return writable[0]


def answer_size(asked: int, written: int) -> int:
    """Return how many random bytes an answer brought; for the driver.

    Fewer than asked for is legal (§5.4.6.2). So is none at all (ours: the text wants one byte; a
    device that limits its rate has none to give). Raises RemoteProtocolError for more than there
    was room for.
    """
    if not 0 <= written <= asked:
        raise RemoteProtocolError(
            f"an entropy device says it wrote {written} bytes where {asked} were asked for"
        )
    return written
