# SPDX-License-Identifier: BSD-3-Clause
"""The sessions of a gateway as others see them: counted, measured, logged, and watched over.

``book`` keeps the totals of all of them, which ``metrics`` shows; ``log`` writes a line for each
turn of a session's life, and ``status`` tells a supervisor how one stands.
"""
