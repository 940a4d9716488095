# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the gateways have a scripted target, and leave nothing open."""

from __future__ import annotations

from tests.support.target_fixtures import leaves_nothing, serve

__all__ = ["leaves_nothing", "serve"]
