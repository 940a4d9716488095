# SPDX-License-Identifier: BSD-3-Clause
"""Queues over RDMA: keyed transmission (*proposal*, *v2*, *v5*).

    interface            what a queue needs of its connection
    queue, requests      one queue's commands over one, and their form
    memory, eager,       registered memory: what requests need, and where the target lets us write
    extents
    connect, errors      the making of a connection, and why there is none
    cm, link, verbs      by pyverbs, which only these know
    tapped               a connection that somebody looks at

Nothing of pyverbs is imported before the first connection: who uses TCP need not have it.
"""
