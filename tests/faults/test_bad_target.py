# SPDX-License-Identifier: BSD-3-Clause
"""A target that breaks the protocol or tells nonsense: a clear error, the right errno, no hang."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Callable

import pytest

from tests.faults.victim import Victim, fails, victim_of
from tests.support.loopback import Background
from tests.support.protocol_numbers import GET_CONFIG, VRING, block_config
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    completion,
    on,
    silence,
    vring_completion,
)
from tests.support.target_fixtures import Serve
from vof.errors import DeviceError, RemoteProtocolError, SessionLost, VofError


def honest(command: Command) -> bytes:
    """Return the completion a good target would send."""
    return vring_completion(command, command.connection.target.execute(command))


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def garbage(command: Command) -> bytes:
    return random.Random("garbage").randbytes(4096)


def text(command: Command) -> bytes:
    return b"HTTP/1.1 408 Request Timeout\r\n\r\n"


def foreign_id(command: Command) -> bytes:
    return patched(honest(command), 2, b"\x34\x12")


def event_id(command: Command) -> bytes:
    return patched(honest(command), 2, b"\xff\xff")


def one_descriptor_less(command: Command) -> bytes:
    return patched(honest(command), 4, struct.pack("<H", len(command.writable) - 1))


def one_descriptor_more(command: Command) -> bytes:
    return patched(honest(command), 4, struct.pack("<H", len(command.writable) + 1))


def all_descriptors_there_are(command: Command) -> bytes:
    return patched(honest(command), 4, b"\xff\xff")


def length_beyond_the_buffer(command: Command) -> bytes:
    return patched(honest(command), 16 + 8, struct.pack("<I", command.writable[0].length + 1))


def length_of_4_gib(command: Command) -> bytes:
    return patched(honest(command), 16 + 8, b"\xff\xff\xff\xff")


def descriptor_of_the_command_only(command: Command) -> bytes:
    return patched(honest(command), 16 + 12, b"\0\0")


def descriptor_id_beyond(command: Command) -> bytes:
    return patched(honest(command), 16 + 12, struct.pack("<H", len(command.descriptors)))


def no_status_byte(command: Command) -> bytes:
    answer = command.connection.target.execute(command)
    return vring_completion(command, [*answer[:-1], b""])


def nothing_written(command: Command) -> bytes:
    return vring_completion(command, command.connection.target.execute(command), used=0)


VIOLATIONS: dict[str, tuple[Callable[[Command], bytes], str]] = {
    "garbage": (garbage, "protocol violation"),
    "text": (text, "not in flight"),
    "wrong command id": (foreign_id, "command id 4660, which is not in flight"),
    "command id of an event": (event_id, "command id 65535, which is not in flight"),
    "too few descriptors": (one_descriptor_less, "where the command has"),
    "too many descriptors": (one_descriptor_more, "where the command has"),
    "65535 descriptors": (all_descriptors_there_are, "65535 descriptors where the command has"),
    "length beyond the buffer": (length_beyond_the_buffer, "which has room for"),
    "length of 4 GiB": (length_of_4_gib, "returns 4294967295 bytes"),
    "readable descriptor": (descriptor_of_the_command_only, "descriptor id 0"),
    "unknown descriptor": (descriptor_id_beyond, "not an open device-writable descriptor"),
    "no status byte": (no_status_byte, "completed without a status byte"),
    "nothing written": (nothing_written, "completed without a status byte"),
}

KINDS = ["read", "write", "unaligned write", "flush", "trim", "zero"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation(serve: Serve, name: str, kind: str) -> None:
    """Each ends the association, for the request it answers and for all others."""
    make, message = VIOLATIONS[name]
    target = serve()
    with victim_of(target.port) as victim:
        target.hooks.append(on(VRING, lambda command: command.connection.send(make(command))))
        with fails(RemoteProtocolError, message):
            victim.calls()[kind]()
        assert victim.errnos == [errno.ESHUTDOWN]
        victim.is_lost()


def test_violation_ends_every_request_in_flight_on_every_queue(serve: Serve) -> None:
    hold = Hold()
    target = serve()
    with victim_of(target.port, queues=3) as victim:
        target.hooks.append(hold)
        readers = [Background(victim.read) for _ in range(9)]
        held = hold.take(9)
        assert {command.connection.queue for command in held} == {0, 1, 2}
        held[4].connection.send(foreign_id(held[4]))
        for reader in readers:
            with fails(SessionLost, "command id 4660"):
                reader.result(5)
        assert victim.errnos == [errno.ESHUTDOWN] * 9
        victim.is_lost()


def test_completion_for_nothing(serve: Serve) -> None:
    """Sent while no request is in flight: found by the next one."""
    target = serve()
    with victim_of(target.port) as victim:
        victim.works()
        target.connections[1].send(completion(0, 3))
        with fails(RemoteProtocolError, "command id 3, which is not in flight"):
            victim.read()
        victim.is_lost()


def test_the_same_completion_twice(serve: Serve) -> None:
    target = serve()
    with victim_of(target.port) as victim:
        target.hooks.append(on(VRING, lambda command: command.connection.send(honest(command) * 2)))
        with fails(RemoteProtocolError, "not in flight"):
            # Whether the first of the two counts depends on how they arrive.
            victim.read()
            victim.read()
    assert errno.ESHUTDOWN in victim.errnos


def test_an_answer_to_a_control_command_with_a_foreign_id(serve: Serve) -> None:
    target = serve(Device(), on(GET_CONFIG, lambda command: command.reply(command_id=9)))
    with fails(RemoteProtocolError, "command id 9, which is not in flight"):
        Victim(target.port)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [1, 2, 3, 0x42, 0xFF])
def test_error_in_the_status_byte(serve: Serve, kind: str, status: int) -> None:
    """It is that request's alone: an invented one is an error, like any other."""

    def fail(command: Command) -> None:
        answers = command.connection.target.execute(command)
        command.complete(*answers[:-1], bytes([status]))

    target = serve()
    with victim_of(target.port) as victim:
        target.hooks.append(on(VRING, fail))
        with fails(DeviceError):
            victim.calls()[kind]()
        # Zeroes are nbdkit's to write as data where the device does not know the request.
        unknown = status == 2 and kind == "zero"
        assert victim.errnos == [errno.ENOTSUP if unknown else errno.EIO]
        target.hooks.clear()
        victim.works()


@pytest.mark.parametrize("status", [5, 22, 28, 4096, 65535])
def test_error_in_the_completion(serve: Serve, status: int) -> None:
    target = serve()
    with victim_of(target.port) as victim:
        target.hooks.append(on(VRING, lambda command: command.reply(status=status)))
        with fails(VofError, f"refused VIRTIO_BLK_T_IN with status {status}"):
            victim.read()
        assert victim.errnos == [errno.EIO]
        target.hooks.clear()
        victim.works()


@pytest.mark.parametrize("kind", KINDS)
def test_silence(serve: Serve, kind: str) -> None:
    target = serve()
    with victim_of(target.port, timeout=0.2) as victim:
        target.hooks.append(on(VRING, silence))
        with fails(SessionLost, r"no answer to \w+ within 0\.2 s"):
            victim.calls()[kind]()
        assert victim.errnos == [errno.ESHUTDOWN]
        victim.is_lost()


def test_silence_towards_some_is_the_end_for_all(serve: Serve) -> None:
    hold = Hold()
    target = serve()
    with victim_of(target.port, queues=2, timeout=0.2) as victim:
        target.hooks.append(hold)
        readers = [Background(victim.read) for _ in range(6)]
        hold.take(6)
        for reader in readers:
            with fails(SessionLost, "no answer to VIRTIO_BLK_T_IN within"):
                reader.result(5)
        victim.is_lost()


class TestCapacity:
    def test_of_0_is_an_empty_disk(self, serve: Serve) -> None:
        target = serve(Device(config=block_config(capacity=0)))
        with victim_of(target.port) as victim:
            assert victim.export.size() == 0
            victim.export.flush()
            with fails(VofError, "not within the device's 0"):
                victim.read()
            with fails(VofError, "not within the device's 0"):
                victim.write(b"x")
            assert victim.errnos == [errno.EINVAL, errno.ENOSPC]

    @pytest.mark.parametrize("sectors", [2**64 - 1, 2**63, 2**54])
    def test_of_more_bytes_than_there_are(self, serve: Serve, sectors: int) -> None:
        target = serve(Device(config=block_config(capacity=sectors)))
        with fails(RemoteProtocolError, f"config is impossible: capacity of {sectors} sectors"):
            Victim(target.port)

    def test_that_ends_within_a_block_is_cut_to_whole_blocks(self, serve: Serve) -> None:
        target = serve(Device(config=block_config(capacity=15, blk_size=4096)))
        with victim_of(target.port) as victim:
            assert victim.export.size() == 4096


class TestConfigThatChanges:
    def test_once_under_the_read_is_read_again(self, serve: Serve) -> None:
        small, large = block_config(capacity=100, num_queues=1), block_config(capacity=2048)

        def grow(command: Command) -> bool:
            device = command.connection.target.device
            if command.opcode == GET_CONFIG and device.config == small:
                (offset,) = struct.unpack_from("<H", command.raw, 4)
                width = command.raw[6]
                command.reply(int.from_bytes(small[offset : offset + width], "little"))
                device.config, device.generation = large, 1
                return True
            return False

        target = serve(Device(config=small), grow)
        with victim_of(target.port, queues=4) as victim:
            assert victim.export.size() == 2048 * 512
            assert len(victim.driver.session.virtqueues) == 4

    def test_for_ever_is_an_error(self, serve: Serve) -> None:
        def change(command: Command) -> bool:
            if command.opcode == GET_CONFIG:
                command.connection.target.device.generation += 1
            return False

        target = serve(Device(), change)
        with fails(RemoteProtocolError, "config changed under each of 16 reads"):
            Victim(target.port)


def test_random_bytes_instead_of_answers(serve: Serve) -> None:
    """Whatever they are: an error, and in time. The connection ends after them, or they might be
    the beginning of an answer."""
    rng = random.Random("random bytes")
    for _ in range(60):
        target = serve()
        with victim_of(target.port, timeout=5) as victim:
            noise = rng.randbytes(rng.choice((1, 15, 16, 17, 64, 65, 5000)))
            if rng.random() < 0.7:  # often enough they begin well
                noise = honest_start(rng) + noise

            def misbehave(command: Command, noise: bytes = noise) -> None:
                command.connection.send(noise)
                command.connection.close()

            target.hooks.append(on(VRING, misbehave))
            with fails(VofError):
                victim.read()
                victim.read()
            victim.is_lost()
        target.stop()


def honest_start(rng: random.Random) -> bytes:
    """Return the start of the answer to a read of 1,024 bytes with command id 0."""
    head = completion(0, 0, 2, 1025)
    table = struct.pack("<QIHHI4x", 0, rng.choice((0, 1, 1024)), 1, 3, 0)
    table += struct.pack("<QIHHI4x", 1024, rng.choice((0, 1)), 2, 2, 0)
    whole = head + table + bytes(1025)
    return whole[: rng.randrange(len(whole))]
