# SPDX-License-Identifier: BSD-3-Clause
"""Reads the metrics of a running program, once: the other end of ``vof.metrics.http``.

A place that answers slowly, without end, or with something else is told in one line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from vof.errors import ConnectError
from vof.metrics.endpoint import Endpoint, connect

TIMEOUT = 5.0
"""Seconds for all of it."""

MAX_SIZE = 16 << 20

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: vof\r\nConnection: close\r\n\r\n"


class Sample(NamedTuple):
    """One line of the answer."""

    name: str
    labels: dict[str, str]
    value: float


def scrape(endpoint: Endpoint, timeout: float = TIMEOUT) -> list[Sample]:
    """Return what is served there. Raises ConnectError."""
    try:
        head, _empty, body = _exchange(endpoint, timeout).partition(b"\r\n\r\n")
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
        raise ConnectError(f"cannot read metrics from {endpoint}: {reason or error}") from None
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] != b"200":
        what = head[:40].split(b"\r\n", 1)[0].decode("ascii", "backslashreplace")
        raise ConnectError(f"{endpoint} does not serve metrics: it answers {what!r}")
    try:
        return list(_parse(body.decode()))
    except Exception as error:  # noqa: BLE001 - whatever a text that is none makes of the parser
        raise ConnectError(
            f"{endpoint} does not serve metrics: its text cannot be read: {error!r}"
        ) from None


def _exchange(endpoint: Endpoint, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    parts: list[bytes] = []
    size = 0
    with connect(endpoint, timeout) as sock:
        sock.sendall(_REQUEST)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            part = sock.recv(1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > MAX_SIZE:
                raise OSError(0, f"more than {MAX_SIZE} bytes")


def _parse(text: str) -> Iterator[Sample]:
    # Not for the verbs that need none of it.
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(sample.name, dict(sample.labels), float(sample.value))
