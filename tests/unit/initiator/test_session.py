# SPDX-License-Identifier: BSD-3-Clause
"""A session's order of commands, its connections, its end; and every way not to get one."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.loopback import Background, receive_exactly, unused_port, unused_ports
from tests.support.protocol_numbers import (
    CONNECT,
    DISCONNECT,
    GET_CONFIG,
    GET_DEVICE_FEATURE,
    GET_DEVICE_ID,
    GET_FEATURE,
    GET_GENERATION,
    GET_NUM_QUEUES,
    GET_QUEUE_SIZE,
    GET_STATUS,
    GET_VENDOR_ID,
    SET_DRIVER_FEATURE,
    SET_QUEUE_SIZE,
    SET_STATUS,
    VENDOR_VTGT,
)
from tests.support.scripted_target import Command, Device, ScriptedTarget, completion, on, silence
from tests.support.sessions import IVQN, parameters_for
from tests.support.target_fixtures import Serve
from tests.vectors.recordings import I2T, load
from vof.errors import (
    CompletionError,
    ConfigError,
    ConnectError,
    RemoteProtocolError,
    SessionLost,
)
from vof.initiator.session import Session, State

VERSION_1 = 1 << 32


def attach(target: ScriptedTarget, queues: int = 2, wanted: int = (1 << 64) - 1) -> Session:
    session = Session.open(parameters_for(target))
    session.negotiate(wanted)
    session.open_virtqueues(queues)
    session.driver_ok()
    return session


def steps(target: ScriptedTarget) -> list[tuple[int, int, int]]:
    """Return (connection, opcode, status written) of all commands."""
    return [
        (
            command.connection.number,
            command.opcode,
            command.raw[4] if command.opcode == SET_STATUS else 0,
        )
        for command in target.commands
    ]


class TestOrder:
    def test_of_a_device_with_version_1(self, serve: Serve) -> None:
        target = serve()
        attach(target).close()
        assert steps(target) == [
            (0, CONNECT, 0),
            (0, GET_NUM_QUEUES, 0),
            (0, GET_VENDOR_ID, 0),
            (0, GET_DEVICE_ID, 0),
            (0, GET_FEATURE, 0),
            (0, SET_STATUS, 0),
            (0, SET_STATUS, 1),
            (0, SET_STATUS, 3),
            (0, GET_DEVICE_FEATURE, 0),
            (0, SET_DRIVER_FEATURE, 0),
            (0, SET_STATUS, 0xB),
            (0, GET_STATUS, 0),
            (0, GET_QUEUE_SIZE, 0),
            (1, CONNECT, 0),
            (0, GET_QUEUE_SIZE, 0),
            (2, CONNECT, 0),
            (0, SET_STATUS, 0xF),
            (0, DISCONNECT, 0),
        ]

    def test_of_a_legacy_device_has_no_features_ok(self, serve: Serve) -> None:
        target = serve(Device(features=0x1006))
        attach(target).close()
        written = [value for _conn, opcode, value in steps(target) if opcode == SET_STATUS]
        assert written == [0, 1, 3, 7]

    @pytest.mark.parametrize("recorded", ["kernel-tcp-blk-basic", "kernel-tcp-blk-v1-flush"])
    def test_is_the_recorded_initiators(self, serve: Serve, recorded: str) -> None:
        """Reads of status and config aside, which change nothing, command after command.

        The recorded target is one that gets no transport feature command, as it would hang up.
        """
        features = 0x1006 if recorded.endswith("basic") else 0x1_0000_1206
        recording = load(recorded)
        stream = recording.stream(0, I2T)
        expected = []
        while stream:
            opcode = int.from_bytes(stream[:2], "little")
            expected.append((opcode, stream[4] if opcode == SET_STATUS else 0))
            stream = stream[16 if opcode != CONNECT else 1064 :]
        queues = sum(opcode == GET_QUEUE_SIZE for opcode, _value in expected)

        target = serve(Device(features=features, vendor_id=VENDOR_VTGT))
        attach(target, queues).close()
        ours = [(opcode, value) for conn, opcode, value in steps(target) if conn == 0]
        reads = {GET_STATUS, GET_CONFIG, GET_GENERATION}
        assert [step for step in ours if step[0] not in reads] == [
            step for step in expected if step[0] not in reads
        ]

    def test_status_is_reset_before_anything_of_the_device_is_used(self, serve: Serve) -> None:
        target = serve(Device(status=0xF))
        attach(target).close()
        writes = [step for step in steps(target) if step[1] == SET_STATUS]
        assert writes[0] == (0, SET_STATUS, 0)


class TestConnect:
    def test_each_virtqueue_is_a_connection_with_the_id_of_the_first(self, serve: Serve) -> None:
        target = serve(Device(target_id=0x1234))
        session = attach(target, 3)
        connects = [command for command in target.commands if command.opcode == CONNECT]
        assert [struct.unpack_from("<HH", each.raw, 4) for each in connects] == [
            (0xFFFF, 0),
            (0x1234, 0),
            (0x1234, 1),
            (0x1234, 2),
        ]
        assert [each.connection.number for each in connects] == [0, 1, 2, 3]
        for each in connects:
            assert each.payload[:256] == IVQN.encode().ljust(256, b"\0")
            assert each.payload[256:512] == b"scripted/block0".ljust(256, b"\0")
            assert each.payload[512:] == bytes(512)
        session.close()

    def test_a_zero_target_id_in_virtqueue_connects_is_of_no_account(self, serve: Serve) -> None:
        def zero_for_virtqueues(command: Command) -> bool:
            if command.opcode != CONNECT or command.raw[4:6] == b"\xff\xff":
                return False
            assert command.raw[4:6] == struct.pack("<H", 7)
            command.reply(0)
            return True

        target = serve(Device(), zero_for_virtqueues)
        attach(target, 4).close()

    def test_sizes_of_the_virtqueues(self, serve: Serve) -> None:
        sizes = iter([64, 1000])
        target = serve(Device(), on(GET_QUEUE_SIZE, lambda command: command.reply(next(sizes))))
        with attach(target) as session:
            assert [(queue.index, queue.size) for queue in session.virtqueues] == [
                (0, 64),
                (1, 1000),
            ]

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
    def test_over(self, address: str) -> None:
        listen = "::1" if address == "::1" else "127.0.0.1"
        with ScriptedTarget(address=listen) as target:
            parameters = parameters_for(target, taddr=address)
            with Session.open(parameters) as session:
                session.negotiate(0)
                session.open_virtqueues(1)
            assert len(target.connections) == 2

    def test_local_address_and_ports(self, serve: Serve) -> None:
        target = serve()
        base = unused_ports(3)
        parameters = parameters_for(target, iaddr="127.0.0.5", iport=base)
        with Session.open(parameters) as session:
            session.negotiate(0)
            session.open_virtqueues(2)
            peers = [connection.peer for connection in target.connections]
        assert peers == [("127.0.0.5", base + place) for place in range(3)]

    def test_local_ports_that_do_not_suffice(self, serve: Serve) -> None:
        target = serve()
        parameters = parameters_for(target, iport=65535)
        with Session.open(parameters) as session:
            session.negotiate(0)
            with pytest.raises(ConfigError, match="iport=65535: no port is left for virtqueue 0"):
                session.open_virtqueues(1)

    def test_max_segs_is_asked_for(self, serve: Serve) -> None:
        target = serve(Device(max_segs=42))
        with Session.open(parameters_for(target)) as session:
            assert session.max_segs == 42

    @pytest.mark.parametrize("answer", ["refused", "zero"])
    def test_max_segs_that_is_not_told(self, serve: Serve, answer: str) -> None:
        status = 95 if answer == "refused" else 0
        target = serve(Device(), on(GET_FEATURE, lambda command: command.reply(0, status=status)))
        with Session.open(parameters_for(target)) as session:
            assert session.max_segs == 128

    def test_the_reference_target_is_not_asked_for_transport_features(self, serve: Serve) -> None:
        target = serve(
            Device(vendor_id=VENDOR_VTGT),
            on(GET_FEATURE, lambda command: command.connection.close()),
        )
        with Session.open(parameters_for(target)) as session:
            assert session.max_segs == 128


class TestFeatures:
    def test_only_what_both_sides_have_is_set(self, serve: Serve) -> None:
        target = serve(Device(features=VERSION_1 | 0b1110))
        with Session.open(parameters_for(target)) as session:
            assert session.negotiate(0b0111) == VERSION_1 | 0b0110
        [command] = [each for each in target.commands if each.opcode == SET_DRIVER_FEATURE]
        assert command.raw[8:] == struct.pack("<Q", VERSION_1 | 0b0110)

    def test_that_the_device_does_not_accept(self, serve: Serve) -> None:
        target = serve(Device(), on(GET_STATUS, lambda command: command.reply(3)))
        with (
            Session.open(parameters_for(target)) as session,
            pytest.raises(RemoteProtocolError, match="does not accept features 0x1000"),
        ):
            session.negotiate(0)

    def test_a_refused_command_is_no_end_of_the_session(self, serve: Serve) -> None:
        target = serve(Device(), on(SET_DRIVER_FEATURE, lambda command: command.reply(status=22)))
        with Session.open(parameters_for(target)) as session:
            with pytest.raises(CompletionError, match="set_driver_feature with status 22"):
                session.negotiate(0)
            assert session.error is None


class TestEnd:
    def test_close_disconnects_and_is_idempotent(self, serve: Serve) -> None:
        target = serve()
        session = attach(target)
        session.close()
        session.close()
        assert session.state is State.CLOSED
        assert target.opcodes().count(DISCONNECT) == 1

    def test_the_reference_target_gets_no_disconnect(self, serve: Serve) -> None:
        target = serve(Device(vendor_id=VENDOR_VTGT))
        attach(target).close()
        assert DISCONNECT not in target.opcodes()

    def test_nor_does_a_target_whose_device_was_not_made_ready(self, serve: Serve) -> None:
        target = serve()
        with Session.open(parameters_for(target)):
            pass
        assert DISCONNECT not in target.opcodes()

    def test_close_does_not_wait_long_for_a_silent_target(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vof.initiator.association.DISCONNECT_TIMEOUT", 0.1)
        target = serve(Device(), on(DISCONNECT, silence))
        session = attach(target)
        Background(session.close).result(5)
        assert session.error is not None

    def test_close_after_the_target_has_gone(self, serve: Serve) -> None:
        target = serve()
        session = attach(target)
        target.stop()
        Background(session.close).result(5)
        assert session.error is not None

    def test_a_lost_virtqueue_ends_the_whole_association(self, serve: Serve) -> None:
        target = serve()
        session = attach(target)
        one, two = session.virtqueues
        target.hooks.append(on(0x2000, silence))
        waiting = two.submit("request", [16], [bytes(16)], [memoryview(bytearray(1))])
        assert waiting is not None
        lost = one.submit("request", [16], [bytes(16)], [memoryview(bytearray(1))])
        assert lost is not None
        target.connections[1].close()
        with pytest.raises(SessionLost, match="virtqueue 0: connection lost"):
            one.wait(lost)
        with pytest.raises(SessionLost, match="virtqueue 0: connection lost"):
            two.wait(waiting)
        with pytest.raises(SessionLost):
            session.control.get_status()
        assert session.state is State.LOST
        assert session.error is not None
        assert session.error.errno == errno.ESHUTDOWN
        session.close()
        assert session.state is State.LOST

    def test_fail_reaches_every_waiter(self, serve: Serve) -> None:
        target = serve(Device(), on(0x2000, silence))
        session = attach(target)
        waiters = []
        for queue in session.virtqueues:
            pending = queue.submit("request", [16], [bytes(16)], [memoryview(bytearray(1))])
            assert pending is not None
            waiters.append(Background(queue.wait, pending))
        session.fail(RemoteProtocolError("seen through"))
        for waiter in waiters:
            with pytest.raises(RemoteProtocolError, match="seen through"):
                waiter.result(5)
        with pytest.raises(RemoteProtocolError):
            session.driver_ok()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection by ``answer``; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _peer = listener.accept()
            with sock:
                answer(sock)

        thread = Background(serve)
        yield listener.getsockname()[1]
        thread.result()


def until_closed(sock: socket.socket) -> None:
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass


class TestNoSession:
    @staticmethod
    def error_of(port: int, **changes: object) -> ConnectError:
        with pytest.raises(ConnectError) as caught:
            Session.open(parameters_for(port, **changes))
        assert "\n" not in str(caught.value)
        return caught.value

    def test_without_a_name(self) -> None:
        with pytest.raises(ConfigError, match="no tvqn given"):
            Session.open(parameters_for(1, tvqn=None))

    def test_nothing_listens(self) -> None:
        error = self.error_of(unused_port())
        assert "Connection refused; is a target listening there?" in str(error)
        assert error.errno == errno.ECONNREFUSED

    def test_no_such_host(self) -> None:
        error = self.error_of(1, taddr="no.such.host.invalid")
        assert "cannot resolve taddr=no.such.host.invalid" in str(error)

    def test_unknown_tvqn(self, serve: Serve) -> None:
        target = serve()
        error = self.error_of(target.port, tvqn="nobody")
        assert str(error).startswith(f"127.0.0.1:{target.port} has no device 'nobody'; check tvqn=")
        assert error.errno == errno.ENODEV

    def test_refused_for_another_reason(self, serve: Serve) -> None:
        target = serve(Device(), on(CONNECT, lambda command: command.reply(status=16)))
        error = self.error_of(target.port)
        assert "refused 'scripted/block0': the target refused connect with status 16" in str(error)
        assert error.errno == errno.EBUSY

    def test_refused_virtqueue(self, serve: Serve) -> None:
        target = serve(Device(), on(CONNECT, lambda command: command.reply(status=16), nth=2))
        with Session.open(parameters_for(target)) as session:
            session.negotiate(0)
            with pytest.raises(ConnectError, match=r"refused virtqueue 0 .* status 16: EBUSY"):
                session.open_virtqueues(2)

    def test_virtqueue_of_size_0(self, serve: Serve) -> None:
        target = serve(Device(queue_size=0))
        with Session.open(parameters_for(target)) as session:
            session.negotiate(0)
            with pytest.raises(RemoteProtocolError, match="virtqueue 0 has size 0"):
                session.open_virtqueues(1)

    def test_http_server(self) -> None:
        def http(sock: socket.socket) -> None:
            receive_exactly(sock, 1)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            until_closed(sock)

        with answering(http) as port:
            error = self.error_of(port)
        assert f"127.0.0.1:{port} did not answer as a Virtio-oF target" in str(error)
        assert error.errno == errno.EPROTO

    def test_silent_server(self) -> None:
        with answering(until_closed) as port:
            error = self.error_of(port, connect_timeout=0.2)
        assert "did not answer as a Virtio-oF target" in str(error)
        assert "no answer to connect within 0.2 s" in str(error)

    def test_server_that_falls_silent(self, serve: Serve) -> None:
        target = serve(Device(), on(GET_DEVICE_ID, silence))
        error = self.error_of(target.port, connect_timeout=0.2)
        assert "no answer to get_device_id within 0.2 s" in str(error)

    def test_server_that_hangs_up(self) -> None:
        with answering(lambda _sock: None) as port:
            error = self.error_of(port)
        assert "did not answer as a Virtio-oF target" in str(error)

    @pytest.mark.parametrize(
        "answer",
        [
            b"\xff" * 16,
            completion(0, 1),
            completion(0, 0, 1),
            b"220 mail.example ESMTP\r\n",
            b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
            b"NBDMAGICIHAVEOPT\0\3",
            bytes(range(256)) * 64,
        ],
        ids=["ones", "foreign id", "descriptors", "smtp", "ssh", "nbd", "noise"],
    )
    def test_server_that_says_something_else(self, answer: bytes) -> None:
        def speak(sock: socket.socket) -> None:
            sock.sendall(answer)
            until_closed(sock)

        with answering(speak) as port:
            error = self.error_of(port)
        assert "did not answer as a Virtio-oF target" in str(error)


class TestQueueSize:
    def test_is_told_where_it_is_less_than_offered(self, serve: Serve) -> None:
        target = serve(Device(queue_size=128))
        with Session.open(parameters_for(target, queue_size=16)) as session:
            session.negotiate(0)
            assert [queue.size for queue in session.open_virtqueues(2)] == [16, 16]
        told = [each.raw[4:] for each in target.commands if each.opcode == SET_QUEUE_SIZE]
        assert told == [struct.pack("<HHQ", index, 0, 16) for index in (0, 1)]

    @pytest.mark.parametrize("wanted", [None, 128, 1024])
    def test_is_the_target_s_otherwise(self, serve: Serve, wanted: int | None) -> None:
        target = serve(Device(queue_size=128))
        with Session.open(parameters_for(target, queue_size=wanted)) as session:
            session.negotiate(0)
            assert [queue.size for queue in session.open_virtqueues(1)] == [128]
        assert SET_QUEUE_SIZE not in target.opcodes()
