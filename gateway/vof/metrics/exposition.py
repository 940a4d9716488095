# SPDX-License-Identifier: BSD-3-Clause
"""A program's metrics, served where its user wants them.

To be made before the program goes into the background, where a place that cannot be had is told to
who started it, and started after, since threads do not outlive a fork.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from vof.logline import event
from vof.metrics.endpoint import Endpoint, listen, remove
from vof.metrics.families import common_families
from vof.metrics.http import PageServer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Collect = Callable[[], Iterable[Metric]]


class Exposition:
    """Serves what ``collect`` returns, and what every program has. Raises as ``listen``."""

    def __init__(self, endpoint: Endpoint, program: str, collect: Collect) -> None:
        self._endpoint = endpoint
        self._registry = CollectorRegistry()
        self._registry.register(_Families(program, collect))
        ProcessCollector(registry=self._registry)
        listener = listen(endpoint)
        if not endpoint.path:
            self._endpoint = endpoint._replace(port=listener.getsockname()[1])
        self._server = PageServer(listener, self.text, CONTENT_TYPE, _failed)

    @property
    def endpoint(self) -> Endpoint:
        """The address it listens at, with the port that 0 has become."""
        return self._endpoint

    def start(self) -> None:
        """Begin to serve."""
        self._server.start()
        event(logging.INFO, "metrics", listening=self._endpoint)

    def stop(self) -> None:
        """Serve no more. Idempotent."""
        self._server.stop()
        remove(self._endpoint)

    def text(self) -> bytes:
        """Return the metrics as they are now."""
        return generate_latest(self._registry)


class _Families(Collector):
    def __init__(self, program: str, collect: Collect) -> None:
        self._program = program
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from common_families(self._program)
        yield from self._collect()


def _failed(reason: str) -> None:
    event(logging.ERROR, "internal-error", reason=f"metrics: {reason}")
