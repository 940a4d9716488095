# SPDX-License-Identifier: BSD-3-Clause
"""The target over TCP: stream transmission (*proposal*, *v2*, *v5*).

listener             sockets that listen
acceptor, handshake  connections that have not connected yet: one thread for all of them
connection, channel  connections that have: a thread each, and its socket
control_queue        what such a thread serves: the control queue,
virtqueue            or a virtqueue, natively where its device can do that
completions          what a virtqueue's requests are answered with
"""
