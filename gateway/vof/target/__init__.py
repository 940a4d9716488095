# SPDX-License-Identifier: BSD-3-Clause
"""The target: serves virtio devices to Virtio-oF initiators.

    cli, demo            the vof-target program: arguments, signals, the ready-made set
    config, values       the configuration file
    server               one target: its devices, its listener, start, reload and stop
    acceptor, handshake  connections that have not connected yet: one thread for all of them
    connection, workers  connections that have: a thread each
    association          who is connected to what, and who may connect
    commands             the control commands
    async_events         events that wait to be sent on a control queue
    devices/             device models: virtio requests in, virtio results out; no sockets
    backends/            where a device keeps its data; no virtio

Imports ``vof.wire`` and ``vof.errors`` and nothing of the initiator's side: one mistake cannot sit
in both ends and cancel out.
"""
