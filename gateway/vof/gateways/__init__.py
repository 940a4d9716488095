# SPDX-License-Identifier: BSD-3-Clause
"""The gateways, which present a driver's device to this machine, each in its own way.

The last layer; each edge has one errno map.
"""
