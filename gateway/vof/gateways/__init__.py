# SPDX-License-Identifier: BSD-3-Clause
"""Gateways: what presents a driver's device to this machine. The last layer; each edge has one
errno map."""
