# SPDX-License-Identifier: BSD-3-Clause
"""Shows others what was counted: Prometheus' text format over HTTP, by TCP or Unix socket.

For both ends, which give the numbers; knows ``counts`` and ``logline``, and no layer. Only where
somebody wants metrics is prometheus_client imported.
"""
