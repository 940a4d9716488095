# SPDX-License-Identifier: BSD-3-Clause
"""Queues over TCP: *streamed transmission*, in Python.

connect              the socket
requests             the form of requests on a stream, for ``vof.engine`` too
queue                one queue's commands over one
"""
