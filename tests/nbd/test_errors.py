# SPDX-License-Identifier: BSD-3-Clause
"""The errno an NBD client is told when the target is lost or its device fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import nbd
import pytest

from tests.nbd.conftest import DISK, DISK_SIZE, Served, nbdkit_for, start_target
from tests.support.loopback import Background
from tests.support.protocol_numbers import VRING, WRITE_ZEROES
from tests.support.scripted_target import Command, Hold, ScriptedTarget, on

pytestmark = pytest.mark.nbdkit


def errno_of_read(client: nbd.NBD, offset: int = 0) -> str:
    with pytest.raises(nbd.Error) as caught:
        client.pread(512, offset)
    return str(caught.value.errno)


class TestLostTarget:
    def test_for_requests_in_flight_and_later_ones(self, scripted: ScriptedTarget) -> None:
        hold = Hold()
        with nbdkit_for(scripted) as nbdkit:
            clients = [nbdkit.connect() for _ in range(4)]
            scripted.hooks.append(hold)
            readers = [Background(errno_of_read, client) for client in clients]
            hold.take(4)
            for connection in scripted.connections:
                connection.close()
            start = time.monotonic()
            assert [reader.result(5) for reader in readers] == ["ESHUTDOWN"] * 4
            assert [errno_of_read(client) for client in clients] == ["ESHUTDOWN"] * 4
            for call in (clients[0].flush, lambda: clients[0].pwrite(bytes(512), 0)):
                with pytest.raises(nbd.Error) as caught:
                    call()
                assert caught.value.errno == "ESHUTDOWN"
            assert time.monotonic() - start < 5
            assert "Traceback" not in nbdkit.log
            for client in clients:
                client.shutdown()

    def test_a_new_connection_gets_a_new_session(self, scripted: ScriptedTarget) -> None:
        with nbdkit_for(scripted) as nbdkit, nbdkit.client() as old:
            for connection in scripted.connections:
                connection.close()
            assert errno_of_read(old) == "ESHUTDOWN"
            with nbdkit.client() as new:
                assert new.pread(512, 0) == bytes(512)
                assert errno_of_read(old) == "ESHUTDOWN"

    def test_killed(self, own_target: Served) -> None:
        with own_target.nbdkit(DISK) as nbdkit, nbdkit.client() as client:
            assert client.pread(512, 0) == bytes(512)
            own_target.process.signal(signal.SIGKILL)
            own_target.process.wait()
            assert errno_of_read(client) == "ESHUTDOWN"
            assert errno_of_read(client) == "ESHUTDOWN"
            with pytest.raises(nbd.Error):
                nbdkit.connect()
            assert "Connection refused; is a target listening there?" in nbdkit.log
            assert nbdkit.alive

    def test_silent(self, scripted: ScriptedTarget) -> None:
        hold = Hold()
        with nbdkit_for(scripted, "timeout=0.3") as nbdkit, nbdkit.client() as client:
            scripted.hooks.append(hold)
            assert errno_of_read(client) == "ESHUTDOWN"
            assert "no answer to VIRTIO_BLK_T_IN within 0.3 s" in nbdkit.log

    def test_that_breaks_the_protocol(self, scripted: ScriptedTarget) -> None:
        with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
            scripted.hooks.append(on(VRING, lambda command: command.reply(command_id=77)))
            assert errno_of_read(client) == "ESHUTDOWN"
            assert "protocol violation by the target: completion for command id 77" in nbdkit.log


@pytest.mark.parametrize(
    "status", [1, 2, 0x42, 0xFF], ids=["IOERR", "UNSUPP", "invented", "unwritten"]
)
def test_status_byte(scripted: ScriptedTarget, status: int) -> None:
    def fail(command: Command) -> None:
        command.complete(*scripted.execute(command)[:-1], bytes([status]))

    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        scripted.hooks.append(on(VRING, fail))
        assert errno_of_read(client) == "EIO"
        scripted.hooks.clear()
        assert client.pread(512, 0) == bytes(512)


@pytest.mark.parametrize(
    ("status", "errno"), [(22, "EIO"), (28, "EIO"), (19, "EIO"), (71, "EIO"), (4096, "EIO")]
)
def test_refused_command(scripted: ScriptedTarget, status: int, errno: str) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        scripted.hooks.append(on(VRING, lambda command: command.reply(status=status)))
        assert errno_of_read(client) == errno
        scripted.hooks.clear()
        assert client.pread(512, 0) == bytes(512)


class TestFailingBackend:
    def test_image_cut_short(self, own_target: Served) -> None:
        with own_target.nbdkit(DISK) as nbdkit, nbdkit.client() as client:
            os.truncate(own_target.folder / "disk.img", DISK_SIZE // 2)
            assert errno_of_read(client, DISK_SIZE - 512) == "EIO"
            assert client.pread(512, 0) == bytes(512)
            assert "the device failed VIRTIO_BLK_T_IN with an I/O error" in nbdkit.log

    def test_no_room_for_a_write(self, tmp_path: Path) -> None:
        """A limit on the size of the files it writes stands for a full disk."""
        limited = start_target(tmp_path, "prlimit", f"--fsize={DISK_SIZE // 2}")
        with limited.process, limited.nbdkit(DISK) as nbdkit, nbdkit.client() as client:
            with pytest.raises(nbd.Error) as caught:
                client.pwrite(b"x" * 4096, DISK_SIZE - 4096)
            assert caught.value.errno in ("EIO", "ENOSPC")
            client.pwrite(b"x" * 4096, 0)
            assert client.pread(4096, 0) == b"x" * 4096


def test_requests_beyond_the_end_never_reach_the_target(scripted: ScriptedTarget) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.set_strict_mode(client.get_strict_mode() & ~nbd.STRICT_BOUNDS)
        size = client.get_size()
        assert errno_of_read(client, size) == "EINVAL"
        with pytest.raises(nbd.Error) as caught:
            client.pwrite(bytes(1024), size - 512)
        assert caught.value.errno == "ENOSPC"
    assert scripted.requests() == []


def test_zeroes_that_the_device_does_not_know_are_written_as_data(
    scripted: ScriptedTarget,
) -> None:
    scripted.device.disk[:1024] = b"x" * 1024

    def refuse(command: Command) -> bool:
        if command.opcode != VRING or command.request[0] != WRITE_ZEROES:
            return False
        command.complete(b"\2")
        return True

    scripted.hooks.append(refuse)
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.zero(512, 0)
    assert scripted.device.disk[:1024] == bytes(512) + b"x" * 512
