# SPDX-License-Identifier: BSD-3-Clause
"""Loads pyfuse3 and, before it, the part of libfuse that it keeps to itself.

Owns that order, on which ``libfuse`` depends: only what was loaded first, with its symbols for all,
is found first by pyfuse3. Whoever needs either has it from here.
"""

from __future__ import annotations

import os
import sys

_flags = sys.getdlopenflags()
sys.setdlopenflags(_flags | os.RTLD_GLOBAL)
try:
    from vof.gateways.fuse import libfuse
finally:
    sys.setdlopenflags(_flags)

import pyfuse3  # noqa: E402 - it has to come second

__all__ = ["libfuse", "pyfuse3"]
