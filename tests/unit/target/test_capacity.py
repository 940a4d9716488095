# SPDX-License-Identifier: BSD-3-Clause
"""How many connections the file descriptors suffice for, and what is done without any."""

from __future__ import annotations

import socket

import pytest

from tests.support.shortage import no_descriptors
from vof.errors import VofError
from vof.target.capacity import Capacity, Spare
from vof.wire.constants import Transport


@pytest.mark.parametrize("spare", [0, 12])
def test_without_room_for_one_connection(spare: int) -> None:
    with no_descriptors(spare), pytest.raises(VofError, match=r"no room .* too few .*ulimit"):
        Capacity.now([Transport.TCP])


def test_connections_over_both_transports() -> None:
    with no_descriptors(40):
        tcp, rdma, both = (
            Capacity.now(transports)
            for transports in ([Transport.TCP], [Transport.RDMA], list(Transport))
        )
    assert tcp.connections > rdma.connections > both.connections > 0
    assert both.wanted(100, list(Transport)) == both.descriptors + 5 * (100 - both.connections)


def test_a_refusal_without_a_descriptor() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as peer,
    ):
        listener.setblocking(False)
        spare = Spare()
        with no_descriptors():
            assert spare.refuse(listener) == peer.getsockname()
            # There is not always one that waits.
            with pytest.raises(BlockingIOError):
                spare.refuse(listener)
        assert peer.recv(1) == b""
        spare.close()


def test_a_spare_that_somebody_else_has_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, no_descriptors():
        spare = Spare()
        with pytest.raises(OSError, match="Too many open files"):
            spare.refuse(listener)
