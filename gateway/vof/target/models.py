# SPDX-License-Identifier: BSD-3-Clause
"""The device types that a target can serve, by their names in a configuration.

A new one is a module in ``devices`` and a line here.
"""

from __future__ import annotations

from vof.target.devices import block, console, crypto, rng

MODELS = {model.name: model for model in (block.MODEL, rng.MODEL, crypto.MODEL, console.MODEL)}
