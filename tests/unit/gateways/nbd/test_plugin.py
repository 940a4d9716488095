# SPDX-License-Identifier: BSD-3-Clause
"""The state of nbdkit's plugin: parameters, sessions and the probe, and what of them is told."""

from __future__ import annotations

import re
import select
import socket
import sys

import pytest

from tests.support.loopback import unused_port, unused_ports
from tests.support.protocol_numbers import CONNECT, EVERYTHING, F_RO, VRING
from tests.support.scripted_target import TVQN, Device, ScriptedTarget, on, wait_until
from tests.support.target_fixtures import Serve
from vof.errors import (
    ConfigError,
    ConnectError,
    SessionLost,
    VofError,
    WrongDevice,
)
from vof.fabric.tcp.queue import TcpQueue
from vof.gateways.nbd.export import Export
from vof.gateways.nbd.plugin import NbdGateway, dump_plugin, format_exception, help_text
from vof.gateways.settings.keys import PLUGIN


class TestFormatException:
    @staticmethod
    def formatted(error: BaseException) -> str:
        """Return what nbdkit would print: it passes type, value and traceback, joins the lines."""
        try:
            raise error
        except BaseException:  # noqa: BLE001 - any there may be
            kind, value, trace = sys.exc_info()
        lines = format_exception(kind, value, trace)
        assert lines == format_exception(value)
        return "".join(lines)

    def test_an_error_of_ours_is_its_message(self) -> None:
        assert self.formatted(ConnectError("cannot connect")) == "cannot connect"

    def test_any_other_error_is_one_line_with_its_place(self) -> None:
        text = self.formatted(ZeroDivisionError("by zero"))
        assert re.fullmatch(
            r"internal error: ZeroDivisionError: by zero "
            r"\(.*test_plugin\.py:\d+\); please report it",
            text,
        )

    def test_an_error_that_was_not_raised(self) -> None:
        error = ValueError("x")
        assert format_exception(error) == ["internal error: ValueError: x; please report it"]


class TestParameters:
    def test_each_is_taken(self) -> None:
        supervisor, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        values = {
            "tvqn": "a", "ivqn": "b", "taddr": "c", "tport": "1", "transport": "tcp",
            "iaddr": "d", "iport": "2", "dialect": "auto", "timeout": "3", "queues": "4",
            "queue_size": "64", "eager": "off", "metrics": "host:1", "block_path": "no",
            "trace": "./t", "growing": "no", "status_fd": str(status.fileno()),
        }  # fmt: skip
        assert set(values) == set(PLUGIN)
        gateway = NbdGateway(print, print)
        for key, value in values.items():
            gateway.config(key, value)
        status.detach()  # it is the gateway's
        gateway.cleanup()
        assert supervisor.recv(1) == b""
        supervisor.close()

    @pytest.mark.parametrize("value", ["0", "129", "many", ""])
    def test_queues_that_cannot_be(self, value: str) -> None:
        with pytest.raises(ConfigError, match=f"queues={value}: not a number from 1 to 128"):
            NbdGateway(print, print).config("queues", value)

    def test_an_unknown_one_that_is_like_one(self) -> None:
        with pytest.raises(ConfigError) as caught:
            NbdGateway(print, print).config("tvnq", "x")
        assert str(caught.value) == "unknown parameter 'tvnq'; did you mean 'tvqn'?"

    def test_an_unknown_one_lists_those_there_are(self) -> None:
        with pytest.raises(ConfigError) as caught:
            NbdGateway(print, print).config("disk", "x")
        assert str(caught.value) == (
            "unknown parameter 'disk'; known are tvqn, taddr, tport, transport, ivqn, iaddr, "
            "iport, dialect, queue_size, eager, timeout, metrics, trace, queues, block_path, "
            "growing, status_fd"
        )

    def test_help_and_dump_name_them_all(self) -> None:
        for key in PLUGIN:
            assert re.search(rf"^  {key}= +\S", help_text(), re.MULTILINE)
        dumped = dict(line.split("=", 1) for line in dump_plugin().splitlines())
        assert dumped["vof_parameters"] == ",".join(PLUGIN)
        assert dumped["vof_transports"] == "tcp,rdma"
        assert dumped["vof_dialects"] == "auto,proposal,v2,v5"
        assert re.fullmatch(r"\d+\.\d+\.\d+", dumped["vof_version"])


class Opened:
    """A gateway on a scripted target."""

    def __init__(self, target: ScriptedTarget, **parameters: str) -> None:
        self.target = target
        self.debugged: list[str] = []
        self.gateway = NbdGateway(lambda _errno: None, self.debugged.append)
        for key, value in ({"tport": str(target.port)} | parameters).items():
            self.gateway.config(key, value)

    @property
    def sessions(self) -> int:
        """Control queue connections made so far."""
        commands = list(self.target.commands)
        return sum(
            command.opcode == CONNECT and command.raw[4:6] == b"\xff\xff" for command in commands
        )


def is_readable(queue: TcpQueue) -> bool:
    return bool(select.select([queue], [], [], 0)[0])


def pread(export: Export, length: int = 512) -> bytes:
    data = bytearray(length)
    export.pread(memoryview(data), 0)
    return bytes(data)


class TestSessions:
    @pytest.fixture
    def opened(self, serve: Serve) -> Opened:
        return Opened(serve(), tvqn=TVQN)

    def test_are_shared_by_all_connections_to_a_device(self, opened: Opened) -> None:
        one, two = opened.gateway.open(""), opened.gateway.open("whatever")
        assert one.disk is two.disk
        assert opened.sessions == 1
        opened.gateway.close(one)
        assert pread(two) == bytes(512)
        opened.gateway.close(two)
        for connection in opened.target.connections:
            wait_until(lambda c=connection: c.socket.fileno() < 0, "the end of a connection")  # type: ignore[misc]

    def test_are_new_after_the_last_connection_closed(self, opened: Opened) -> None:
        opened.gateway.close(opened.gateway.open(""))
        export = opened.gateway.open("")
        assert opened.sessions == 2
        assert pread(export) == bytes(512)
        opened.gateway.close(export)

    def test_that_were_lost_are_replaced_for_new_connections(self, opened: Opened) -> None:
        old = opened.gateway.open("")
        for connection in opened.target.connections:
            connection.close()
        with pytest.raises(SessionLost):
            pread(old)
        new = opened.gateway.open("")
        assert pread(new) == bytes(512)
        with pytest.raises(SessionLost):
            pread(old)
        opened.gateway.close(old)
        assert pread(new) == bytes(512)
        third = opened.gateway.open("")
        assert third.disk is new.disk
        opened.gateway.close(new)
        opened.gateway.close(third)
        assert opened.sessions == 2

    def test_that_were_lost_while_idle_are_replaced_too(self, opened: Opened) -> None:
        """Nobody was waiting when the target went away."""
        old = opened.gateway.open("")
        for connection in opened.target.connections:
            connection.close()
        for queue in old.disk.driver.session.queues().values():
            wait_until(lambda q=queue: is_readable(q), "the end to arrive")  # type: ignore[misc]
        new = opened.gateway.open("")
        assert pread(new) == bytes(512)
        with pytest.raises(SessionLost):
            pread(old)
        opened.gateway.close(old)
        opened.gateway.close(new)
        assert opened.sessions == 2

    def test_that_cannot_be_had_leave_nothing_behind(self, serve: Serve) -> None:
        opened = Opened(serve(Device(device_id=4)), tvqn=TVQN)
        for _ in range(2):
            with pytest.raises(ConfigError, match="is a virtio-rng"):
                opened.gateway.open("")
        assert opened.sessions == 2

    def test_are_named_by_the_export_without_a_tvqn(self, serve: Serve) -> None:
        opened = Opened(serve())
        export = opened.gateway.open(TVQN)
        assert pread(export) == bytes(512)
        opened.gateway.close(export)
        with pytest.raises(ConnectError, match="has no device 'other'"):
            opened.gateway.open("other")
        with pytest.raises(ConfigError, match="without tvqn= the NBD export name is the tvqn"):
            opened.gateway.open("")
        with pytest.raises(ConfigError, match="the NBD export name is 256 bytes long"):
            opened.gateway.open("x" * 256)

    def test_use_as_many_queues_as_asked_for(self, serve: Serve) -> None:
        opened = Opened(serve(), tvqn=TVQN, queues="2")
        export = opened.gateway.open("")
        assert len(opened.target.connections) == 1 + 2
        opened.gateway.close(export)

    def test_are_described_for_debugging(self, serve: Serve) -> None:
        opened = Opened(serve(), tvqn=TVQN, queues="4")
        opened.gateway.close(opened.gateway.open(""))
        [line] = opened.debugged
        assert f"'{TVQN}' at 127.0.0.1:{opened.target.port}: 1048576 bytes, 4 virtqueues" in line

    def test_flags_of_a_real_driver(self, serve: Serve) -> None:
        opened = Opened(serve(Device(features=EVERYTHING | F_RO)), tvqn=TVQN)
        export = opened.gateway.open("")
        assert not export.can_write()
        assert export.size() == 1 << 20
        opened.gateway.close(export)


class TestProbe:
    def test_leaves_nothing_open_and_sends_no_request(self, serve: Serve) -> None:
        opened = Opened(serve(), tvqn=TVQN)
        opened.gateway.get_ready()
        [connection] = opened.target.connections
        wait_until(lambda: connection.socket.fileno() < 0, "the end of the probe's connection")
        assert VRING not in opened.target.opcodes()

    def test_does_nothing_without_a_name(self) -> None:
        gateway = NbdGateway(print, print)
        gateway.config("tport", str(unused_port()))
        gateway.get_ready()
        assert list(gateway.exports()) == []

    def test_does_not_use_up_the_local_port(self, serve: Serve) -> None:
        port = unused_ports(2)
        opened = Opened(serve(), tvqn=TVQN, iport=str(port), queues="1")
        opened.gateway.get_ready()
        export = opened.gateway.open("")
        probe, control, virtqueue = (each.peer[1] for each in opened.target.connections)
        assert probe != port
        assert (control, virtqueue) == (port, port + 1)
        opened.gateway.close(export)

    @pytest.mark.parametrize(
        ("device", "error", "text"),
        [
            (Device(tvqn="else"), ConnectError, f"has no device '{TVQN}'"),
            (
                Device(device_id=20),
                WrongDevice,
                "is a virtio-crypto, .* takes disks only; vof-mount",
            ),
        ],
    )
    def test_says_what_is_wrong(
        self, serve: Serve, device: Device, error: type[VofError], text: str
    ) -> None:
        opened = Opened(serve(device), tvqn=TVQN)
        with pytest.raises(error, match=text):
            opened.gateway.get_ready()

    def test_exports_are_listed(self, serve: Serve) -> None:
        opened = Opened(serve(), tvqn=TVQN)
        [(name, description)] = opened.gateway.exports()
        assert name == ""
        assert description == f"{TVQN} at 127.0.0.1:{opened.target.port}"


def test_an_open_that_fails_half_way_closes_its_connections(serve: Serve) -> None:
    opened = Opened(
        serve(Device(), on(CONNECT, lambda command: command.reply(status=16), nth=3)),
        tvqn=TVQN,
        queues="2",
    )
    with pytest.raises(ConnectError, match="refused virtqueue 1"):
        opened.gateway.open("")
