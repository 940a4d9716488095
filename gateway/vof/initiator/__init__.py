# SPDX-License-Identifier: BSD-3-Clause
"""The initiator: sessions with one device of a target.

Owns the association, the control queue's commands, the virtio initialisation order and the
virtqueues. Imports ``fabric`` and ``wire``. Knows no device type.
"""
