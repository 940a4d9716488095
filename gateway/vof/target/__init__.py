# SPDX-License-Identifier: BSD-3-Clause
"""The target: serves virtio devices to Virtio-oF initiators.

    cli, demo            the vof-target program: arguments, signals, the ready-made set
    config, values       the configuration file
    models               the device types that it can serve
    server               one target: start, reload and stop
    registry             its devices, by name
    clock                calls that are made later
    listening            what it listens with: one acceptor for each transport
    admission            connections that have not connected yet: who is let in
    connecting           what a Connect is answered
    connection, serving  connections that have: a thread each, and the order in which they end
    execution, workers   the requests of a virtqueue while its device has them
    ending               what ends a connection, and what that ends
    association          one initiator's use of one device;
    association_table    all of them: who is connected to what, and who may connect
    size_watch           looks whether what is behind a device has changed its size
    commands             the control commands
    async_events         events that wait to be sent on a control queue
    tcp/, rdma/          the transports: what a connection is, and the way of a request through it
    devices/             device models: virtio requests in, virtio results out; no transport
    backends/            where a device keeps its data; no virtio

Of the initiator's layers it imports ``vof.wire`` alone: no mistake of the others can sit in both
ends and cancel out. What belongs to neither end both use (``tests/meta/layers.py``).
"""
