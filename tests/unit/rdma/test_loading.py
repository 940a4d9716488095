# SPDX-License-Identifier: BSD-3-Clause
"""What is imported may do with the root logger as it likes."""

from __future__ import annotations

import logging

from vof.rdma.loading import logging_left_alone


def test_handlers_and_level_are_put_back() -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with logging_left_alone():
        root.addHandler(logging.NullHandler())
        root.setLevel(before[0] + 10)
    assert (root.level, list(root.handlers)) == before
