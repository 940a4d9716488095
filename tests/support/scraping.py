# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of a running program, read as vofctl reads them."""

from __future__ import annotations

from vof.gateways.cli.scrape import scrape
from vof.metrics.endpoint import Endpoint


class Scraped:
    """All samples of one scrape."""

    def __init__(self, place: str) -> None:
        self._samples = scrape(Endpoint.parse("place", place))

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name with these labels, whatever others they
        have."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}
