# SPDX-License-Identifier: BSD-3-Clause
"""Virtio drivers, one module a device type, over sessions.

A driver never sees a socket nor a flag of the front end above it.
"""
