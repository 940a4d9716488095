# SPDX-License-Identifier: BSD-3-Clause
"""Types of what the plugin uses of nbdkit's module, after nbdkit-python-plugin(3)."""

THREAD_MODEL_PARALLEL: int
FUA_EMULATE: int
FUA_NATIVE: int
CACHE_EMULATE: int
FLAG_MAY_TRIM: int

def debug(msg: str) -> None: ...
def export_name() -> str: ...
def set_error(err: int) -> None: ...
