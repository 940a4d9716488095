# SPDX-License-Identifier: BSD-3-Clause
"""How vofctl tells an error: one line on standard error, under its name."""

from __future__ import annotations

import sys

from vof.logline import printable


def tell_error(text: str) -> None:
    """Write the line."""
    sys.stderr.write(f"vofctl: {printable(text)}\n")
