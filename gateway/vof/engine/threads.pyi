# SPDX-License-Identifier: BSD-3-Clause
def keep_thread() -> None:
    """Let the calling thread, which its host attached to Python for this call, stay attached."""
