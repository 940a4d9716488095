# SPDX-License-Identifier: BSD-3-Clause
"""Fabrics: each carries the commands of one queue over one connection, in any order.

Imports ``wire`` only. Knows nothing of sessions, virtio device types or gateways.
"""
