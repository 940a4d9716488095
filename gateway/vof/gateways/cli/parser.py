# SPDX-License-Identifier: BSD-3-Clause
"""A parser of arguments, of vofctl and of each of its verbs."""

from __future__ import annotations

import argparse
from typing import Any


class Parser(argparse.ArgumentParser):
    """Abbreviated options are not taken."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
