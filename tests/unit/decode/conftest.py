# SPDX-License-Identifier: BSD-3-Clause
"""Property tests are not timed: a busy machine is not a failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("vof", deadline=None)
settings.load_profile("vof")
