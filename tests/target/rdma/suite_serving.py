# SPDX-License-Identifier: BSD-3-Clause
"""Every dialect over RDMA. Runs inside a guest: see `tests.guest.scenario_target_rdma`."""

from __future__ import annotations

import os
import re
import struct
import threading
from pathlib import Path

import pytest

from tests.target.all_devices import FILE, LETTERS
from tests.target.conftest import Log, Serve, address_of
from tests.target.crypto_peer import CRYPTO0, create_hash, run_hash
from tests.target.peer import (
    BLOCK1,
    BLOCK2,
    FLUSH,
    GET_ID,
    IN,
    IOERR,
    OK,
    OUT,
    Association,
    Peer,
    connect_bytes,
)
from tests.target.rdma.association import EAGER_BUF, NUM_DESCS, KeyedAssociation
from tests.target.rdma.conftest import EAGER, Attach
from tests.target.rdma.keyed_peer import KeyedPeer
from vof.target.backends.posix import PosixBackend
from vof.wire.constants import Command
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect
from vof.wire.status import Reason

each_dialect = pytest.mark.parametrize("dialect", [PROPOSAL, V2, V5], ids=lambda item: item.name)

DATA = bytes(range(256)) * 16
MAX_DESCS = 64


@pytest.mark.clause("v5 Keyed Transmission 6", "target")
@pytest.mark.clause("proposal:232-244", "target")
@pytest.mark.clause("proposal:245-292", "target")
@pytest.mark.clause("proposal:293-295", "target")
@pytest.mark.clause("proposal:296-307", "target")
@pytest.mark.clause("proposal:308-312", "target")
@each_dialect
def test_requests(attach: Attach, dialect: Dialect) -> None:
    association = attach(dialect=dialect, queues=2)
    for sector, queue in enumerate(association.queues):
        assert queue.request(OUT, 8 * sector, DATA) == (OK, b"")
        assert queue.request(FLUSH) == (OK, b"")
        assert queue.request(IN, 8 * sector, room=len(DATA)) == (OK, DATA)
        assert queue.request(IN, 1 << 40, room=512) == (IOERR, bytes(512))
        assert queue.request(GET_ID, room=20) == (OK, b"vof-000001".ljust(20, b"\0"))


@pytest.mark.clause("v5 Keyed Transmission 4", "target")
@each_dialect
def test_large_requests_in_many_pieces(attach: Attach, dialect: Dialect) -> None:
    """With header and status, as many descriptors as there may be."""
    count = MAX_DESCS - 2 if dialect is V5 else 126
    data = os.urandom(count * 16384)
    queue = attach(BLOCK2, dialect=dialect).queue
    assert queue.request(OUT, 3, data, segment=16384) == (OK, b"")
    assert queue.request(IN, 3, room=len(data), segment=16384) == (OK, data)
    assert queue.request(IN, 3, room=len(data)) == (OK, data)


@each_dialect
def test_many_requests_at_once(attach: Attach, dialect: Dialect) -> None:
    """Far more than the completions that may be on their way unannounced."""
    queue = attach(BLOCK1, dialect=dialect).queue
    for start in range(0, 96, 32):  # a peer has as many receives
        for ident in range(start, start + 32):
            at = 8192 * (1 + ident - start)
            data = bytes([ident]) * 4096
            queue.send(queue.request_message(OUT, 8 * ident, data, command_id=ident, at=at))
        for ident in range(start, start + 32):
            queue.check_completion(1, ident)
            assert queue.result(0, at=8192 * (1 + ident - start)) == (OK, b"")
    for ident in range(96):
        assert queue.request(IN, 8 * ident, room=512) == (OK, bytes([ident]) * 512)


@each_dialect
def test_control_commands(attach: Attach, dialect: Dialect) -> None:
    """On any queue, but for v5, where they belong on the control queue."""
    association = attach(dialect=dialect)
    queues = [association.control, association.queue, association.control]
    for peer in queues[::2] if dialect is V5 else queues:
        assert peer.control(Command.KEEPALIVE) == 0
        assert peer.control(Command.GET_VENDOR_ID) == 0x564F4631
        assert peer.control(Command.GET_DEVICE_ID) == 2
        assert peer.control(Command.GET_CONFIG, 0 | 8 << 16) == 8192
        beyond = dialect.status_of(Reason.CONFIG_EXTENT)
        assert peer.try_control(Command.GET_CONFIG, 0xFFFF | 8 << 16) == (beyond, 0)
        for status in (1, 3, 0):
            peer.set_status(status)
            assert peer.control(Command.GET_STATUS) == status
        offered = NUM_DESCS | EAGER_BUF if dialect is V5 else 128
        assert peer.control(Command.GET_FEATURE) == offered
        assert association.queue.request(IN, room=512)[0] == OK
    if dialect is V5:
        assert association.queue.try_control(Command.GET_STATUS) == (1, 0)
    if dialect is V2:
        # The bytes that may stand in a message: none, all of them are named by key.
        assert association.control.control(Command.GET_FEATURE, 1) == 0


@each_dialect
def test_random_bytes(attach: Attach, dialect: Dialect) -> None:
    used, data = attach(LETTERS, dialect=dialect).queue.run(b"", 300)
    assert (used, len(set(data))) == (300, 26)


def test_fewer_random_bytes_than_there_is_room_for(attach: Attach) -> None:
    assert attach(FILE, dialect=V2).queue.run(b"", 90) == (90, bytes(range(90)))
    # Not a byte beyond what was used is touched.
    expected = bytes(range(90, 100)) + b"\xee" * 290
    assert attach(FILE, dialect=V5).queue.run(b"", 300) == (10, expected)


@each_dialect
def test_crypto(attach: Attach, dialect: Dialect) -> None:
    association = attach(CRYPTO0, dialect=dialect, queues=3)
    create = create_hash()
    used, answer = association.queues[2].run(b"".join(create.readable), sum(create.room))
    session, status, _pad = struct.unpack("<QII", answer)
    assert (used, status) == (16, 0)
    request = run_hash(session, b"abc")
    used, answer = association.queue.run(b"".join(request.readable), sum(request.room))
    assert answer[:4] == bytes.fromhex("ba7816bf")
    assert answer[-1] == 0


@each_dialect
@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_disconnect(attach: Attach, log: Log, dialect: Dialect, place: str) -> None:
    association = attach(dialect=dialect, queues=2)
    peer = association.control if place == "control" else association.queue
    peer.control(Command.DISCONNECT)
    assert peer.is_closed()
    if place == "control":
        assert association.is_closed()
    else:
        association.add_queue(0)
        assert association.queues[-1].request(IN, room=512)[0] == OK
    assert not log.lines("violation")


def test_the_control_connection_closes_after_all_work(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(_backend: PosixBackend) -> None:
        began.set()
        go_on.wait(30)

    association = attach(dialect=V5)
    monkeypatch.setattr(PosixBackend, "flush", slow)
    association.queue.send(association.queue.request_message(FLUSH))
    assert began.wait(30)
    association.control.control(Command.DISCONNECT)
    assert association.queue.is_closed()
    with pytest.raises(TimeoutError):
        association.control.message(0.5)
    go_on.set()
    assert association.control.is_closed()


@pytest.mark.clause("v5 Get Keyed Number of Descriptors 1", "target")
@pytest.mark.clause("v5 Get Feature 2", "target")
def test_transport_features(attach: Attach) -> None:
    control = attach(dialect=V5, queues=0).control
    for bits in (4, 1 << 63, 7):
        assert control.try_control(Command.SET_FEATURE, value=bits) == (0x2000, 0)
    assert control.try_control(Command.SET_FEATURE, select=1, value=NUM_DESCS) == (0x2000, 0)
    assert control.try_control(Command.GET_KEYED_NUM_DESCS) == (1, 0)
    assert control.control(Command.GET_FEATURE) == NUM_DESCS | EAGER_BUF
    assert control.try_control(Command.SET_FEATURE, value=NUM_DESCS) == (0, 0)
    assert control.control(Command.GET_KEYED_NUM_DESCS) == MAX_DESCS


def test_config_change_is_told(attach: Attach, image: Path) -> None:
    associations = [attach(dialect=dialect, queues=0) for dialect in (V2, V5, PROPOSAL)]
    generation = associations[0].control.control(Command.GET_GENERATION)
    for size in (6 << 20, 4 << 20):
        os.truncate(image, size)
        for association in associations[:2]:
            assert association.control.completion()[:2] == (0, 0xFFFE)
        generation += 1
        for association in associations:
            control = association.control
            if control.dialect is not V5:
                assert control.control(Command.GET_GENERATION) == generation
            assert control.control(Command.GET_CONFIG, 0 | 8 << 16) == size // 512


# Eager buffers.


def eager(attach: Attach, **how: object) -> KeyedAssociation:
    return attach(dialect=V5, features=NUM_DESCS | EAGER_BUF, **how)


@pytest.mark.clause("v5 Get Keyed Eager Buffers 1", "target")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 2", "target")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 3", "target")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 4", "target")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 5", "target")
def test_eager_buffers_are_several(attach: Attach) -> None:
    association = eager(attach, queues=2)
    found = association.control.eager_buffers(0)
    assert [item.length for item in found] == [EAGER // 4] * 4
    assert len({item.key for item in found}) == 4
    # The same each time, and the first of them for whoever wants fewer or has room for fewer.
    assert association.control.eager_buffers(0, descs=255) == found
    assert association.control.eager_buffers(0, descs=3) == found[:3]
    assert association.control.eager_buffers(0, room=2 * 16 + 15) == found[:2]
    assert association.control.eager_buffers(0, descs=0) == []
    other = association.control.eager_buffers(1)
    assert not {item.key for item in other} & {item.key for item in found}


def test_eager_buffers_of_no_queue(attach: Attach) -> None:
    association = eager(attach, queues=1)
    assert association.control.try_eager_buffers(4) == (0x1020, [])
    assert association.control.try_eager_buffers(1) == (0, [])


@pytest.mark.clause("v5 Get Keyed Eager Buffers 6", "target")
@pytest.mark.clause("v5 VQ Keyed Eager Buffers 1", "target")
def test_eager_requests_everywhere_in_the_range(attach: Attach) -> None:
    association = eager(attach)
    queue = association.queue
    buffers = association.control.eager_buffers(0)
    size = 16 + len(DATA)
    edge = EAGER // 4
    for sector, offset in enumerate((0, edge - size, edge - 16, edge - 1, edge, EAGER - size)):
        data = bytes([sector]) + DATA[1:]
        place = 8 * sector
        assert queue.eager_request(buffers, offset, OUT, place, data) == (OK, b"")
        assert queue.eager_request(buffers, offset, IN, place, room=len(data)) == (OK, data)
    # One that has bytes in each of the regions.
    data = os.urandom(EAGER - 512)
    assert queue.eager_request(buffers, 7, OUT, 0, data) == (OK, b"")
    assert queue.request(IN, 0, room=len(data)) == (OK, data)
    assert queue.eager_request(buffers, 7, FLUSH) == (OK, b"")


def test_eager_requests_at_once(attach: Attach) -> None:
    """Next to each other, without a byte between them."""
    association = eager(attach)
    queue = association.queue
    buffers = association.control.eager_buffers(0)
    for repeat in range(3):
        messages = []
        for ident in range(16):
            data = bytes([repeat, ident]) * 256
            how = {"command_id": ident, "at": 8192 * (1 + ident)}
            messages.append(queue.eager_message(buffers, 528 * ident, OUT, ident, data, **how))
        for message in messages:
            queue.send(message)
        for ident in range(16):
            queue.check_completion(1, ident)
        for ident in range(16):
            expected = bytes([repeat, ident]) * 256
            assert queue.request(IN, ident, room=512) == (OK, expected)


@pytest.mark.clause("v5 Get Feature 2", "target")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 1", "target")
def test_eager_buffers_that_are_off(serve: Serve) -> None:
    with KeyedAssociation(address_of(serve(eager="off")), features=NUM_DESCS) as association:
        control = association.control
        assert control.control(Command.GET_FEATURE) == NUM_DESCS
        assert control.try_control(Command.SET_FEATURE, value=EAGER_BUF) == (0x2000, 0)
        assert control.try_eager_buffers(0) == (1, [])
        assert association.queue.request(OUT, 0, DATA) == (OK, b"")


@pytest.mark.clause("v5 VQ Keyed Eager Buffers 1", "target")
def test_eager_requests_need_no_read(attach: Attach, log: Log) -> None:
    """Operations that the target counts, for eight writes each, and the read of the Connect."""
    association = eager(attach, queues=2)
    buffers = association.control.eager_buffers(1)
    for sector in range(8):
        assert association.queues[0].request(OUT, sector, bytes(512)) == (OK, b"")
        assert association.queues[1].eager_request(buffers, 0, OUT, sector, bytes(512)) == (OK, b"")
    for queue in association.queues:
        queue.control(Command.DISCONNECT)
        assert queue.is_closed()
    counts = {}
    for line in log.lines("operations"):
        fields = dict(re.findall(r"(\w+)=(\S+)", line))
        if fields["target_id"] == str(association.target_id):
            counts[fields["queue"]] = [int(fields[name]) for name in ("reads", "writes", "sends")]
    assert counts == {"0": [1 + 16, 8, 10], "1": [1, 8, 10]}


# Who else is there.


def test_both_transports_on_one_port(serve: Serve) -> None:
    target = serve(transport="tcp,rdma")
    assert target.listening_on.count(f":{target.port} (") == 2
    address = address_of(target)
    with Association(address, BLOCK1) as stream, KeyedAssociation(address, BLOCK1) as keyed:
        assert stream.queue.request(OUT, 0, DATA) == (OK, b"")
        assert keyed.queue.request(IN, 0, room=len(DATA)) == (OK, DATA)
        # An association is of one transport.
        with Peer(address) as peer:
            for oftype in (0, 1):
                peer.send(connect_bytes(keyed.target_id, 0, tvqn=BLOCK1, oftype=oftype))
                assert peer.completion()[0] == 71
        with KeyedPeer(address) as other:
            other.send(other.connect_message(stream.target_id, 0, tvqn=BLOCK1))
            assert other.completion()[:2] == (71, 0x1234)


def test_foreign_oftype(address: tuple[str, int]) -> None:
    """Refused with command id 0, and the connection stays open for another one."""
    with KeyedPeer(address) as peer:
        for oftype in (0, 3, 255):
            message = bytearray(peer.connect_message())
            message[10] = oftype
            assert peer.send(bytes(message)).completion() == (71, 0, 0, 0)
        assert peer.connect() in range(128)


def test_refused_connects(address: tuple[str, int]) -> None:
    with KeyedAssociation(address) as association, KeyedPeer(address, dialect=V5) as peer:
        for status, message in (
            (0x1001, {"tvqn": "nobody"}),
            (0x1010, {"target_id": 7}),
            (0x1011, {"target_id": association.target_id, "queue": 1, "ivqn": "another"}),
            (0x1020, {"target_id": association.target_id, "queue": 4}),
            (0x1021, {"target_id": association.target_id, "queue": 0}),
        ):
            peer.send(peer.connect_message(**message))
            assert peer.completion() == (status, 0x1234, 0, 0), message
        assert peer.connect(association.target_id, 1) == association.target_id
        assert peer.request(IN, room=512)[0] == OK


def test_idle_connections_end_with_the_target(serve: Serve) -> None:
    target = serve()
    with KeyedAssociation(address_of(target), queues=2) as association:
        assert association.queue.request(IN, room=512)[0] == OK
        target.stop()
        assert association.is_closed()
