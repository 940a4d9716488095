# SPDX-License-Identifier: BSD-3-Clause
"""What was counted, for others to read: Prometheus' text format over HTTP, by TCP or Unix socket.

For both ends, which give the numbers; knows ``counts`` and ``logline``, and no layer. Only where
somebody wants metrics is prometheus_client imported.
"""
