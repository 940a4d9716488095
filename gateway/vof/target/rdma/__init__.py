# SPDX-License-Identifier: BSD-3-Clause
"""The target over RDMA: keyed transmission (*proposal*, *v2*, *v5*).

    loading              the import of all this where it is asked for
    addresses, listener  which addresses RDMA devices serve, and listening on them
    acceptor, handshake  connections that have not connected yet: one thread for all of them
    connection           connections that have: a thread each
    queue                the commands of one connected queue
    send_queue           work requests on their way to the initiator
    spin                 whether to look again or to sleep
    memory, eager        registered memory: what requests need, and what initiators write to
    work_completions     what it means when a work request fails
    endpoint, verbs,     queue pairs, devices and work requests by pyverbs, which only these,
    work_requests        acceptor and listener know

Nothing here is imported unless the configuration asks for RDMA: pyverbs is a package that other
targets need not have.

Each connection has a protection domain of its own: a queue pair's is chosen before its Connect says
whose it is. So no initiator reaches another's memory, nor one queue that of another.
"""
