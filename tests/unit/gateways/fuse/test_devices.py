# SPDX-License-Identifier: BSD-3-Clause
"""Names of devices' folders."""

from __future__ import annotations

from itertools import islice

import pytest

from vof.gateways.fuse.devices import candidate_names, is_name


@pytest.mark.parametrize(
    ("tvqn", "name"),
    [
        ("virtio-target/rng/rng0.service", "rng0"),
        ("rng0", "rng0"),
        ("a/b/c", "c"),
        ("a/b/", "device"),
        ("a/..", "device"),
        ("a/..service", "device"),
        ("a/.service", "device"),
        ("a/x\ny\x1b[0m", "x_y_[0m"),
        ("a/größe.service", "größe"),
        ("a/b c", "b c"),
    ],
)
def test_names(tvqn: str, name: str) -> None:
    assert list(islice(candidate_names(tvqn), 3)) == [name, f"{name}-2", f"{name}-3"]


def test_long_names_stay_names() -> None:
    for name in islice(candidate_names("é" * 127), 120):
        assert is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "a\nb", "x" * 256, "é" * 128])
def test_no_names(name: str) -> None:
    assert not is_name(name)
