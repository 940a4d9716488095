# SPDX-License-Identifier: BSD-3-Clause
"""Each NBD request through the real nbdkit to the real target, and data that stays what it was."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import nbd
import pytest

from tests.nbd.conftest import DISK_SIZE, LARGE_BLOCKS, Served, nbdkit_for
from tests.nbd.nbdkit_process import Nbdkit
from tests.support.loopback import Background
from tests.support.protocol_numbers import DISCARD, FLUSH, IN, OUT, WRITE_ZEROES, block_config
from tests.support.scripted_target import Command, Hold, ScriptedTarget, wait_until

pytestmark = pytest.mark.nbdkit

MI = 1 << 20


def kinds(target: ScriptedTarget) -> list[int]:
    return [command.request[0] for command in target.requests()]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 512), (0, 1), (511, 2), (1000, 100), (4096, MI), (12345, 3 * MI + 7), (DISK_SIZE - 1, 1),
     (DISK_SIZE - 40 * MI, 40 * MI)],
)  # fmt: skip
def test_pwrite_and_pread(disk: Nbdkit, offset: int, length: int) -> None:
    data = random.Random(offset).randbytes(length)
    with disk.client() as client:
        client.set_strict_mode(0)  # later versions refuse more than the announced maximum
        whole = range(max(0, offset - 600), min(DISK_SIZE, offset + length + 600))
        before = client.pread(len(whole), whole.start)
        client.pwrite(data, offset)
        assert client.pread(length, offset) == data
        place = offset - whole.start
        expected = before[:place] + data + before[place + length :]
        assert client.pread(len(whole), whole.start) == expected


def test_what_was_written_is_in_the_image(served: Served, disk: Nbdkit) -> None:
    data = random.Random("image").randbytes(9999)
    with disk.client() as client:
        client.pwrite(data, 5 * MI + 3)
        client.flush()
    with (served.folder / "disk.img").open("rb") as image:
        image.seek(5 * MI + 3)
        assert image.read(9999) == data


@pytest.mark.parametrize(("offset", "length"), [(8 * MI, MI), (8 * MI + 100, 5000), (8 * MI, 100)])
@pytest.mark.parametrize("flags", [0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO])
def test_zero(disk: Nbdkit, offset: int, length: int, flags: int) -> None:
    with disk.client() as client:
        client.pwrite(b"\xff" * (2 * MI), 8 * MI)
        client.zero(length, offset, flags)
        found = client.pread(2 * MI, 8 * MI)
    place = offset - 8 * MI
    assert found[place : place + length] == bytes(length)
    assert found[:place] == b"\xff" * place
    assert found[place + length :] == b"\xff" * (2 * MI - place - length)


@pytest.mark.parametrize(("flags", "unmap"), [(0, 1), (nbd.CMD_FLAG_NO_HOLE, 0)])
def test_zero_may_punch_a_hole_unless_told_otherwise(
    scripted: ScriptedTarget, flags: int, unmap: int
) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.zero(4096, 0, flags)
    [command] = scripted.requests()
    assert command.request[0] == WRITE_ZEROES
    assert command.payload[28] == unmap


def test_trim(disk: Nbdkit) -> None:
    with disk.client() as client:
        client.pwrite(b"\xff" * MI, 16 * MI)
        client.trim(MI // 2 + 100, 16 * MI + 4000)
        found = client.pread(MI, 16 * MI)
    assert found[:4000] == b"\xff" * 4000
    assert found[4000 + MI // 2 + 100 :] == b"\xff" * (MI // 2 - 4100)


def test_trim_reaches_the_device_as_whole_blocks(scripted: ScriptedTarget) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.trim(2000, 100)
    [command] = scripted.requests()
    assert command.request[0] == DISCARD
    assert command.payload[16:28].hex() == "0100000000000000" + "03000000"


def test_flush(scripted: ScriptedTarget) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.flush()
    assert kinds(scripted) == [FLUSH]


@pytest.mark.parametrize("call", ["pwrite", "zero", "trim"])
def test_fua_is_a_flush_after_the_request(scripted: ScriptedTarget, call: str) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        if call == "pwrite":
            client.pwrite(bytes(512), 0, nbd.CMD_FLAG_FUA)
        else:
            getattr(client, call)(512, 0, nbd.CMD_FLAG_FUA)
    first = {"pwrite": OUT, "zero": WRITE_ZEROES, "trim": DISCARD}[call]
    assert kinds(scripted) == [first, FLUSH]


def test_cache_reads(scripted: ScriptedTarget) -> None:
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.cache(4096, 0)
    assert set(kinds(scripted)) == {IN}


def test_requests_are_divided_at_what_the_device_takes(scripted: ScriptedTarget) -> None:
    scripted.device.config = block_config(size_max=4096, seg_max=2)
    data = random.Random("divided").randbytes(64 << 10)
    with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
        client.set_strict_mode(0)  # later versions refuse more than the announced maximum
        client.pwrite(data, 0)
        assert client.pread(len(data), 0) == data
    writes = [command for command in scripted.requests() if command.request[0] == OUT]
    assert [len(command.payload) - 16 for command in writes] == [8192] * 8


def test_unaligned_requests_on_large_blocks(served: Served) -> None:
    rng = random.Random("large blocks")
    model = bytearray(MI)
    with served.nbdkit(LARGE_BLOCKS) as nbdkit, nbdkit.client() as client:
        for _ in range(60):
            length = rng.choice((1, 512, 4095, 4096, 9000))
            offset = rng.randrange(MI - length)
            model[offset : offset + length] = rng.randbytes(length)
            client.pwrite(bytes(model[offset : offset + length]), offset)
        assert client.pread(MI, 0) == model


class TestSeveralConnections:
    def test_share_one_session(self, scripted: ScriptedTarget) -> None:
        with nbdkit_for(scripted, "queues=1") as nbdkit:
            with nbdkit.client() as one, nbdkit.client() as two:
                one.pwrite(b"1" * 512, 0)
                assert two.pread(512, 0) == b"1" * 512
            # the probe's control queue, then one session: control queue and virtqueue
            assert len(scripted.connections) == 3

    def test_a_flush_covers_the_writes_completed_on_all(self, scripted: ScriptedTarget) -> None:
        """What can_multi_conn promises: one flush request, after every completed write."""
        with nbdkit_for(scripted) as nbdkit:
            clients = [nbdkit.connect() for _ in range(4)]
            for number, client in enumerate(clients[1:]):
                client.pwrite(bytes([number]) * 512, 512 * number)
            clients[0].flush()
            assert kinds(scripted) == [OUT, OUT, OUT, FLUSH]
            for client in clients:
                client.shutdown()

    def test_data_after_a_flush_is_seen_by_all(self, disk: Nbdkit) -> None:
        with disk.client() as one, disk.client() as two:
            for number in range(20):
                data = bytes([number + 1]) * 4096
                one.pwrite(data, 20 * MI)
                one.flush()
                assert two.pread(4096, 20 * MI) == data

    def test_a_slow_request_does_not_hold_up_others(self, scripted: ScriptedTarget) -> None:
        """The parallel thread model: of two requests on one connection the second may be first."""
        hold = Hold()

        def only_the_first(command: Command) -> bool:
            return command.request[1] == 8 if command.opcode == 0x2000 else False

        scripted.hooks.append(lambda command: only_the_first(command) and hold(command))
        with nbdkit_for(scripted) as nbdkit, nbdkit.client() as client:
            slow = client.aio_pread(nbd.Buffer(512), 8 * 512)
            [held] = hold.take(1) if self.progress(client, hold) else [None]
            assert client.pread(512, 0) == bytes(512)
            assert held is not None
            held.perform()
            while not client.aio_command_completed(slow):
                client.poll(1000)

    @staticmethod
    def progress(client: nbd.NBD, hold: Hold) -> bool:
        """Let libnbd send until the target has the request."""
        end = time.monotonic() + 20
        while not hold._held:
            assert time.monotonic() < end
            client.poll(20)
        return True

    def test_many_clients_at_once(self, served: Served) -> None:
        with served.nbdkit("nbd/other") as nbdkit:

            def work(number: int) -> None:
                rng = random.Random(number)
                with nbdkit.client() as client:
                    for turn in range(20):
                        offset = number * 4 * MI + rng.randrange(MI)
                        data = rng.randbytes(rng.choice((100, 4096, 100_000)))
                        client.pwrite(data, offset)
                        assert client.pread(len(data), offset) == data, turn

            workers = [Background(work, number) for number in range(8)]
            for worker in workers:
                worker.result(60)


class TestPrograms:
    def test_nbdcopy_of_an_unaligned_size(self, disk: Nbdkit, tmp_path: Path) -> None:
        source = Path("/etc/services")
        size = source.stat().st_size
        assert size % 512, "the point is a size that is no multiple of a block"
        subprocess.run(["nbdcopy", "--destination-is-zero", source, disk.uri], check=True)
        with disk.client() as client:
            assert client.pread(size, 0) == source.read_bytes()
        copy = tmp_path / "back"
        subprocess.run(["nbdcopy", disk.uri, copy], check=True)
        assert copy.stat().st_size == DISK_SIZE
        with copy.open("rb") as file:
            assert file.read(size) == source.read_bytes()

    def test_qemu_io(self, disk: Nbdkit) -> None:
        command = ["qemu-io", "-f", "raw", f"nbd+unix:///?socket={disk.socket}"]
        script = ["write -P 0xab 24M 100k", "flush", "discard 24M 64k", "read -P 0xab 25231872 512",
                  "write -z 25M 1M", "read -P 0 25M 1M"]  # fmt: skip
        for line in script:
            command += ["-c", line]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        assert "failed" not in found.stdout + found.stderr


def test_the_session_ends_with_its_last_connection(scripted: ScriptedTarget) -> None:
    with nbdkit_for(scripted, "queues=1") as nbdkit:
        with nbdkit.client() as client:
            client.pread(512, 0)
            assert scripted.connections[1].socket.fileno() >= 0
        for connection in scripted.connections:
            wait_until(lambda each=connection: each.socket.fileno() < 0, "its end")  # type: ignore[misc]
        with nbdkit.client() as client:
            client.pread(512, 0)
        assert len(scripted.connections) == 5
