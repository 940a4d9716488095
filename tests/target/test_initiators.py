# SPDX-License-Identifier: BSD-3-Clause
"""Initiators as they are known to behave, with three devices attached at the same time."""

from __future__ import annotations

from tests.target.peer import (
    BLOCK0,
    BLOCK1,
    BLOCK2,
    GET_ID,
    IN,
    OK,
    OUT,
    Association,
    Peer,
    request_bytes,
)

Address = tuple[str, int]

DEVICES = {
    BLOCK0: (4, 8192, b"vof-000001"),
    BLOCK1: (1, 8192, b"vof-000002"),
    BLOCK2: (2, 131072, b"vof-000003"),
}


def check_disks(attached: dict[str, Association]) -> None:
    """Every queue of every device reads what was written to that device, and to no other."""
    for tvqn, association in attached.items():
        assert association.queue.request(OUT, 3, tvqn.encode().ljust(512)) == (OK, b"")
    for tvqn, association in attached.items():
        for queue in association.queues:
            assert queue.request(IN, 3, room=512) == (OK, tvqn.encode().ljust(512))
            serial = DEVICES[tvqn][2].ljust(20, b"\0")
            assert queue.request(GET_ID, room=20) == (OK, serial)


def test_the_target_id_of_every_connect_is_used_for_the_next(address: Address) -> None:
    """The out-of-tree Linux initiator stores the value of each Connect's completion as its target
    id.
    """
    attached: dict[str, Association] = {}
    try:
        for tvqn, (queues, sectors, _serial) in DEVICES.items():
            association = attached[tvqn] = Association(address, tvqn, queues=0, features=1 << 32)
            assert association.control.control(0x1007) == queues
            assert association.control.config(0, 8) == sectors
            for index in range(queues):
                size = association.control.control(0x1008, index)
                assert size & (size - 1) == 0
                # Peer.connect's return value becomes the id that the next queue names.
                association.add_queue(index)
            association.control.control(0x1004, select=0xF)
        assert [item.target_id for item in attached.values()] == [0, 1, 2]
        check_disks(attached)
    finally:
        for association in attached.values():
            association.close()


def test_no_status_and_no_feature_commands_and_config_on_a_virtqueue(address: Address) -> None:
    """The reference target's sample initiator. Its fields of no use hold whatever memory held."""
    attached: dict[str, Association] = {}
    try:
        for tvqn, (queues, sectors, _serial) in DEVICES.items():
            association = attached[tvqn] = Association(address, tvqn, queues=0)
            control = association.control
            assert control.control(0x1000, select=0x7FFD, value=0x7F8EEA1D02E0) == 0x564F4631
            assert control.control(0x1001, select=0x7FFD, value=0x7F8EEA1D02E0) == 2
            assert control.control(0x1007, select=0x7FFD, value=0x2EA1D02E0) == queues
            assert control.control(0x1008, select=0xEA8E0000, value=0xFFFF) == 256
            for index in range(queues):
                queue = association.add_queue(index)
                assert queue.config(0, 8) == sectors
                assert queue.config(12, 4) == 126
        check_disks(attached)
    finally:
        for association in attached.values():
            association.close()


def test_its_control_connect_has_queue_id_65535(address: Address) -> None:
    with Peer(address) as peer:
        assert peer.connect(0xFFFF, 0xFFFF) == 0


def test_detaching_by_closing_the_sockets_with_requests_in_flight(address: Address) -> None:
    """The Linux initiator says no Disconnect. Its target id comes back, and so does its work."""
    for _ in range(20):
        with Association(address, BLOCK2, queues=2) as association:
            for queue in association.queues:
                for sector in range(8):
                    queue.send(request_bytes(OUT, sector, b"x" * 4096, command_id=sector))
    with Association(address, BLOCK2) as association:
        assert association.queue.request(IN, 0, room=512)[0] == OK


def test_disconnect_ends_the_association(address: Address) -> None:
    with Association(address, queues=2) as association:
        association.control.control(1)
        assert association.is_closed()
    # When the last of its connections has gone the id is free.
    while True:
        with Peer(address) as peer:
            if peer.connect() == 0:
                break


def test_disconnect_on_a_virtqueue_ends_that_queue(address: Address) -> None:
    with Association(address, queues=2) as association:
        association.queues[1].control(1)
        assert association.queues[1].is_closed()
        assert association.queues[0].request(IN, room=512)[0] == OK
        assert association.add_queue(1).request(IN, room=512)[0] == OK


def test_a_queue_can_be_connected_again_after_it_was_closed(address: Address) -> None:
    with Association(address, queues=1) as association:
        association.queue.half_close()
        assert association.queue.is_closed()
        assert association.add_queue(0).request(OUT, 0, bytes(512)) == (OK, b"")
        assert association.control.control(0x1001) == 2


def test_keepalive(address: Address) -> None:
    with Association(address) as association:
        assert association.control.control(2) == 0
        assert association.queue.control(2) == 0
