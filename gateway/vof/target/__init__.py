# SPDX-License-Identifier: BSD-3-Clause
"""The target: serves virtio devices to Virtio-oF initiators.

    cli, demo            the vof-target program: arguments, signals, the ready-made set
    config, values       the configuration file
    server               one target: its devices, start, reload and stop
    listening            what it listens with: one acceptor for each transport
    acceptor, handshake  connections that have not connected yet: one thread for all of them
    connecting           what a Connect is answered
    connection, channel  connections that have: a thread each, and its socket
    control_queue        what such a thread serves: the control queue,
    virtqueue, workers   or a virtqueue, with threads of its own where they are wanted
    completions          what a virtqueue's requests are answered with
    ending               what ends a connection, and what that ends
    association          who is connected to what, and who may connect
    size_watch           looks whether what is behind a device has changed its size
    commands             the control commands
    async_events         events that wait to be sent on a control queue
    rdma/                the same for RDMA as the seven from acceptor to completions for TCP
    devices/             device models: virtio requests in, virtio results out; no sockets
    backends/            where a device keeps its data; no virtio

Of the initiator's layers it imports ``vof.wire`` alone: no mistake of the others can sit in both
ends and cancel out. What belongs to neither end both use (``tests/meta/layers.py``).
"""
