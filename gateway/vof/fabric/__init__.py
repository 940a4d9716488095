# SPDX-License-Identifier: BSD-3-Clause
"""Fabrics: each carries the commands of one queue over one connection, in any order.

    interface            what every queue offers, whatever carries it
    tcp                  a stream: the reference of ``vof.engine``
    rdma                 messages that name registered memory
    queue, leader, room, what all queues in Python share
    pending, ended
    destination,         the way to a target's addresses, and why none was reached
    staggered, unreachable

Imports ``wire`` only. Knows nothing of sessions, virtio device types or gateways; what stands here,
nothing of the transports in the folders.
"""
