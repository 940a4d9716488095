# SPDX-License-Identifier: BSD-3-Clause
"""The keyed queue: what stands in its messages, whose memory that names, and who waits for what."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from tests.support.loopback import Background
from tests.support.scripted_link import Descriptor, Message
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import buffer_of
from tests.unit.fabric.rdma.keyed_rig import SIZE, KeyedRig
from vof.errors import LocalProtocolError, RemoteProtocolError, SessionLost
from vof.fabric.config_watch import ConfigWatch
from vof.fabric.pending import Pending
from vof.fabric.rdma import queue
from vof.fabric.tasks import wait_in_task
from vof.wire.connect import Connect, Names
from vof.wire.dialect import PROPOSAL, V5, Framing
from vof.wire.stream import Arrival
from vof.wire.v5 import KeyedDescriptor

MakeKeyedRig = Callable[..., KeyedRig]

HEADER = b"a header of 16 b"


@pytest.fixture
def make_rig(leaves_nothing: None) -> Iterator[MakeKeyedRig]:
    rigs: list[KeyedRig] = []

    def make(framing: Framing = Framing.LENGTHS, *, commands: int = 64) -> KeyedRig:
        rigs.append(KeyedRig(framing, commands=commands))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeKeyedRig) -> KeyedRig:
    return make_rig()


def finish(rig: KeyedRig, pending: Pending) -> Arrival:
    try:
        return rig.queue.wait(pending)
    finally:
        rig.queue.release(pending)


class TestVring:
    """*proposal*, examples 2.1 and 2.2: a write and a read of 8 KiB."""

    @pytest.fixture
    def rig(self, make_rig: MakeKeyedRig) -> KeyedRig:
        return make_rig(Framing.CHAINS)

    @pytest.mark.clause("proposal:232-244", "initiator")
    @pytest.mark.clause("proposal:293-295", "initiator")
    @pytest.mark.clause("proposal:296-307", "initiator")
    def test_a_write(self, rig: KeyedRig) -> None:
        status = buffer_of(1)
        one, two = b"1" * 4096, b"2" * 4096
        pending = rig.submit([HEADER, one, two], [status], tail=1)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HHIH6x", 0x2000, pending.command_id, 0, 4)
        assert not message.writes
        segments = message.segments()
        assert [(ident, flags) for _buffer, ident, flags in segments] == [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
        ]
        buffers = [buffer for buffer, _ident, _flags in segments]
        assert [rig.far.read(buffer) for buffer in buffers[:3]] == [HEADER, one, two]
        assert buffers[3].length == 1
        rig.far.write(buffers[3], b"\0")
        rig.far.complete(pending.command_id, 1)
        arrival = finish(rig, pending)
        assert list(arrival.lengths) == [1]
        assert arrival.completion.value == 1
        assert bytes(status) == b"\0"

    @pytest.mark.clause("proposal:308-312", "initiator")
    def test_a_read(self, rig: KeyedRig) -> None:
        one, two, status = buffer_of(4096), buffer_of(4096), buffer_of(1)
        pending = rig.submit([HEADER], [one, two, status], tail=1)
        buffers = [buffer for buffer, _ident, _flags in rig.far.receive().segments()]
        assert rig.far.read(buffers[0]) == HEADER
        for buffer, data in zip(buffers[1:], (b"a" * 4096, b"b" * 4096, b"\0"), strict=True):
            rig.far.write(buffer, data)
        rig.far.complete(pending.command_id, 8193, ndesc=3)
        assert list(finish(rig, pending).lengths) == [4096, 4096, 1]
        assert (bytes(one[:3]), bytes(two[:3]), bytes(status)) == (b"aaa", b"bbb", b"\0")

    def test_a_short_answer_keeps_its_tail(self, rig: KeyedRig) -> None:
        one, status = buffer_of(4096), buffer_of(1)
        pending = rig.submit([HEADER], [one, status], tail=1)
        buffers = [buffer for buffer, _ident, _flags in rig.far.receive().segments()]
        rig.far.write(buffers[1], b"only this")
        rig.far.write(buffers[2], b"\x07")
        rig.far.complete(pending.command_id, 10)
        assert list(finish(rig, pending).lengths) == [9, 1]
        assert bytes(one[:10]) == b"only this\0"
        assert bytes(status) == b"\x07"

    def test_what_nobody_writes_stays_as_it_was(self, rig: KeyedRig) -> None:
        """The memory has an earlier request's answer in it: a status that was success."""
        data = status = buffer_of(0)
        for written in (True, False):
            data, status = memoryview(bytearray(b"?" * 64)), memoryview(bytearray(b"\xff"))
            pending = rig.submit([HEADER], [data, status], tail=1)
            buffers = [buffer for buffer, _ident, _flags in rig.far.receive().segments()]
            if written:
                rig.far.write(buffers[1], b"a secret".ljust(64, b"!"))
                rig.far.write(buffers[2], b"\0")
            rig.far.complete(pending.command_id, 65)
            assert list(finish(rig, pending).lengths) == [64, 1]
        assert (bytes(data), bytes(status)) == (b"?" * 64, b"\xff")

    def test_the_most_segments_fit(self, rig: KeyedRig) -> None:
        pending = rig.submit([b"x"] * (SIZE - 1), [buffer_of(1)], tail=1)
        message = rig.far.receive()
        assert [rig.far.read(item[0]) for item in message.segments()][:-1] == [b"x"] * (SIZE - 1)
        rig.far.complete(pending.command_id, 1)
        finish(rig, pending)

    def test_a_refusal(self, rig: KeyedRig) -> None:
        rig.queue.accept_refusals_with_buffers()
        data = buffer_of(8)
        pending = rig.submit([HEADER], [data, buffer_of(1)], tail=1)
        rig.far.receive()
        rig.far.complete(pending.command_id, status=22)
        arrival = finish(rig, pending)
        assert arrival.completion.status == 22
        assert not arrival.lengths


def divided(message: Message, out_length: int) -> tuple[Descriptor, Descriptor]:
    """What the one descriptor of a request names: its device-readable bytes, and the rest."""
    [whole] = message.keyed()
    rest = whole._replace(addr=whole.addr + out_length, length=whole.length - out_length)
    return whole._replace(length=out_length), rest


class TestVq:
    @pytest.mark.clause("v5 Keyed Transmission 4", "initiator")
    def test_a_write(self, rig: KeyedRig) -> None:
        pending = rig.submit([HEADER, b"1" * 4096], [buffer_of(1)], tail=1)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HH4xII", 0x0FFF, pending.command_id, 4112, 1)
        out, room = divided(message, 4112)
        assert rig.far.read(out) == HEADER + b"1" * 4096
        assert room.length == 1
        rig.far.write(room, b"\0")
        rig.far.complete_vq(pending.command_id, 1)
        assert list(finish(rig, pending).lengths) == [1]

    @pytest.mark.clause("v5 Keyed Transmission 6", "initiator")
    def test_a_read(self, rig: KeyedRig) -> None:
        data, status = buffer_of(4096), buffer_of(1)
        pending = rig.submit([HEADER], [data, status], tail=1)
        out, room = divided(rig.far.receive(), 16)
        assert (out.length, room.length) == (16, 4097)
        rig.far.write(room, b"d" * 4096 + b"\0")
        rig.far.complete_vq(pending.command_id, 4097)
        assert list(finish(rig, pending).lengths) == [4096, 1]
        assert bytes(data) == b"d" * 4096
        assert bytes(status) == b"\0"

    def test_a_request_without_device_readable_bytes(self, rig: KeyedRig) -> None:
        data = buffer_of(64)
        pending = rig.submit([], [data])
        message = rig.far.receive()
        assert message.data[8:16] == struct.pack("<II", 0, 64)
        [room] = message.keyed()
        rig.far.write(room, b"random")
        rig.far.complete_vq(pending.command_id, 6)
        assert list(finish(rig, pending).lengths) == [6]
        assert bytes(data[:7]) == b"random\0"

    def test_a_request_without_device_writable_bytes(self, rig: KeyedRig) -> None:
        pending = rig.submit([HEADER], [])
        message = rig.far.receive()
        assert message.data[8:16] == struct.pack("<II", 16, 0)
        rig.far.complete_vq(pending.command_id, 0)
        assert finish(rig, pending).completion.status == 0

    def test_one_that_is_larger_than_memory_comes(self, rig: KeyedRig) -> None:
        with pytest.raises(LocalProtocolError, match="request takes 262224 bytes of registered"):
            rig.start([HEADER], [buffer_of(256 << 10)])
        pending = rig.submit([HEADER], [buffer_of((256 << 10) - 4096)])
        assert pending.command_id == 0  # the other took nothing
        [whole] = rig.far.receive().keyed()
        assert whole.length == 16 + (256 << 10) - 4096

    def test_a_gap_before_the_status(self, rig: KeyedRig) -> None:
        data, status = buffer_of(4096), buffer_of(1)
        pending = rig.submit([HEADER], [data, status], tail=1)
        _out, room = divided(rig.far.receive(), 16)
        rig.far.write(room, b"only this" + bytes(4087) + b"\7")
        rig.far.complete_vq(pending.command_id, 4097, in_length=10)
        assert list(finish(rig, pending).lengths) == [9, 1]
        assert bytes(status) == b"\7"

    def test_a_request_whose_gap_matters_is_not_eager(self, rig: KeyedRig) -> None:
        """The completion of an eager command has no place for its size."""
        rig.use_eager(4096)
        pending = rig.queue.prepare("rsa", [16], [HEADER], [buffer_of(8)], 1, counted=True)
        assert pending is not None
        rig.queue.submit(pending)
        assert rig.far.receive().opcode == 0x0FFF


class TestEager:
    @pytest.mark.clause("v5 VQ Keyed Eager Buffers 1", "initiator")
    @pytest.mark.clause("v5 VQ Keyed Eager Buffers 2", "initiator")
    def test_a_write_goes_ahead_of_its_message(self, rig: KeyedRig) -> None:
        [buffer] = rig.use_eager(8192)
        pending = rig.submit([HEADER, b"1" * 4096], [buffer_of(1)], tail=1)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HHIII", 0x0FFE, pending.command_id, 0, 4112, 1)
        assert message.writes == [(buffer.addr, buffer.key, HEADER + b"1" * 4096)]
        [room] = message.keyed()
        rig.far.write(room, b"\0")
        assert rig.eager.leased >= 4112
        rig.far.complete_vq(pending.command_id, 1)
        assert list(finish(rig, pending).lengths) == [1]
        assert rig.eager.leased == 0

    @pytest.mark.clause("v5 Get Keyed Eager Buffers 6", "initiator")
    def test_each_request_has_its_own_bytes(self, rig: KeyedRig) -> None:
        buffers = rig.use_eager(100, 100, 100)
        first = rig.submit([b"f" * 60], [])
        second = rig.submit([b"s" * 120], [])
        assert rig.far.receive().data[4:8] == struct.pack("<I", 0)
        message = rig.far.receive()
        assert message.data[4:12] == struct.pack("<II", 64, 120)
        # It begins in the first buffer and ends in the second.
        assert message.writes == [
            (buffers[0].addr + 64, buffers[0].key, b"s" * 36),
            (buffers[1].addr, buffers[1].key, b"s" * 84),
        ]
        for pending in (second, first):
            rig.far.complete_vq(pending.command_id, 0)
            finish(rig, pending)
        assert rig.queue.statistics().rdma_writes == 3

    def test_a_full_range_is_gone_round(self, rig: KeyedRig) -> None:
        rig.use_eager(4096)
        first = rig.submit([b"1" * 4096], [])
        second = rig.submit([b"2" * 16], [])
        assert rig.far.receive().opcode == 0x0FFE
        message = rig.far.receive()
        assert message.opcode == 0x0FFF
        assert rig.far.read(message.keyed()[0]) == b"2" * 16
        rig.far.complete_vq(first.command_id, 0)
        finish(rig, first)
        third = rig.submit([b"3" * 4096], [])
        assert rig.far.receive().opcode == 0x0FFE
        for pending in (second, third):
            rig.far.complete_vq(pending.command_id, 0)
            finish(rig, pending)
        figures = rig.queue.statistics()
        assert (figures.eager_sent, figures.eager_full, figures.sends) == (2, 1, 3)

    def test_what_is_larger_than_the_range_is_read(self, rig: KeyedRig) -> None:
        rig.use_eager(4096)
        rig.submit([b"1" * 4097], [])
        assert rig.far.receive().opcode == 0x0FFF

    def test_nothing_to_write_is_not_eager(self, rig: KeyedRig) -> None:
        rig.use_eager(4096)
        rig.submit([], [buffer_of(8)])
        message = rig.far.receive()
        assert message.opcode == 0x0FFF
        assert not message.writes

    def test_a_lost_queue_gives_its_leases_back(self, rig: KeyedRig) -> None:
        rig.use_eager(4096)
        pending = rig.submit([b"1" * 4096], [])
        rig.queue.close()
        with pytest.raises(Exception, match="closed"):
            finish(rig, pending)
        assert rig.eager.leased == 0
        assert rig.pool.taken == rig.at_rest

    def test_a_target_that_allows_no_descriptors(self, rig: KeyedRig) -> None:
        with pytest.raises(RemoteProtocolError, match="no keyed descriptors"):
            rig.queue.use_keyed(0, None)


class TestControlCommands:
    def test_a_plain_one_is_16_bytes(self, rig: KeyedRig) -> None:
        command = struct.pack("<HH12x", 0x1007, 0)
        pending = rig.queue.prepare_control("get_num_queues", command)
        rig.queue.submit(pending)
        assert rig.far.receive() == Message(command, [])
        rig.far.complete(0, 3)
        assert rig.queue.wait(pending).completion.value == 3

    def test_a_connect_names_its_body(self, rig: KeyedRig) -> None:
        connect = Connect(PROPOSAL, 0, 0xFFFF, 0)
        pending = rig.queue.prepare_connect("connect", connect, Names("i" * 255, "t" * 255))
        rig.queue.submit(pending)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HHHHHB5x", 0, 0, 0xFFFF, 0, 1, 1)
        [(named, ident, flags)] = message.segments()
        assert (named.length, ident, flags) == (1024, 0, 0)
        assert rig.far.read(named) == b"i" * 255 + b"\0" + b"t" * 255 + bytes(513)
        rig.far.complete(0, 7)
        assert rig.queue.wait(pending).completion.value == 7

    def test_a_connect_of_v5(self, rig: KeyedRig) -> None:
        names = Names("i", "t")
        pending = rig.queue.prepare_connect("connect", Connect(V5, 0, 0xFFFF, 0), names)
        rig.queue.submit(pending)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HHHHIHH", 0, 0, 0xFFFF, 0, 1024, 0, 0)
        [named] = message.keyed()
        assert rig.far.read(named) == b"i".ljust(256, b"\0") + b"t".ljust(768, b"\0")
        rig.far.complete(0, 7)
        rig.queue.wait(pending)
        connect = Connect(V5, 0, 7, 2, has_body=False, queue_size=5)
        rig.queue.submit(rig.queue.prepare_connect("connect", connect, names))
        assert rig.far.receive().data == struct.pack("<HHHHIHH", 0, 0, 7, 2, 0, 5, 0)

    @pytest.mark.clause("v5 Get Keyed Eager Buffers 3", "initiator")
    def test_the_eager_buffers_are_fetched(self, rig: KeyedRig) -> None:
        what = "get_keyed_eager_buf"
        pending = rig.queue.prepare_get_keyed_eager_buf(what, 0, 3, 255)
        rig.queue.submit(pending)
        message = rig.far.receive()
        assert message.data[:16] == struct.pack("<HHHB9x", 0x0102, 0, 3, 255)
        [room] = message.keyed()
        assert room.length == 255 * 16
        rig.far.write(room, struct.pack("<QIIQII", 4096, 10, 1, 8192, 20, 2))
        rig.far.send(struct.pack("<HHB11s", 0, 0, 2, b"\xff" * 11))
        assert rig.queue.wait(pending).completion.ndesc & 0xFF == 2
        assert rig.queue.eager_buffers(pending, 2) == [
            KeyedDescriptor(4096, 10, 1),
            KeyedDescriptor(8192, 20, 2),
        ]

    def test_they_need_no_memory_that_requests_may_have(self, rig: KeyedRig) -> None:
        while rig.start([b"x" * 100_000], [], wait=False) is not None:
            pass
        pending = rig.queue.prepare_control("disconnect", struct.pack("<HH12x", 1, 9))
        rig.queue.submit(pending)
        rig.far.complete(9)
        rig.queue.wait(pending)


class TestRoom:
    def test_no_more_commands_are_in_flight_than_there_are_receives(
        self, make_rig: MakeKeyedRig
    ) -> None:
        rig = make_rig(commands=3)
        first, *_others = [rig.submit([b"x"], []) for _ in range(3)]
        assert rig.start([b"x"], [], wait=False) is None
        waiter = Background(rig.submit, [b"y"], [])
        wait_until(lambda: rig.queue.activity().waiting_for_room == 1, "one that waits")
        rig.far.complete_vq(first.command_id, 0)
        finish(rig, first)
        assert waiter.result().command_id == first.command_id

    def test_no_more_descriptors_than_the_queue_holds(self, make_rig: MakeKeyedRig) -> None:
        rig = make_rig(Framing.CHAINS)
        rig.queue.resize(4)
        assert rig.start([b"x", b"y"], [buffer_of(1)], wait=False) is not None
        assert rig.start([b"x"], [buffer_of(1)], wait=False) is None
        assert rig.start([b"x"], [], wait=False) is not None

    def test_no_more_commands_than_the_queue_holds_in_v5(self, rig: KeyedRig) -> None:
        rig.queue.resize(2)
        for _ in range(2):
            assert rig.start([b"x", b"y"], [buffer_of(1)], wait=False) is not None
        assert rig.start([b"x"], [], wait=False) is None

    def test_without_memory_a_request_waits_for_some(self, rig: KeyedRig) -> None:
        first, *_others = [rig.submit([b"x" * 200_000], []) for _ in range(2)]
        assert rig.start([b"y" * 200_000], [], wait=False) is None
        waiter = Background(rig.submit, [b"y" * 200_000], [])
        wait_until(lambda: rig.pool.waiting == 1, "one that waits")
        rig.far.complete_vq(first.command_id, 0)
        finish(rig, first)
        assert not waiter.result().done

    def test_everything_comes_back(self, rig: KeyedRig) -> None:
        rig.use_eager(500, 500)
        for size in (1, 100, 300, 600, 2000):
            pendings = [rig.submit([b"x" * size], [buffer_of(size)]) for _ in range(5)]
            for pending in pendings:
                rig.far.complete_vq(pending.command_id, size)
            for pending in pendings:
                finish(rig, pending)
        assert rig.pool.taken == rig.at_rest
        assert rig.eager.leased == 0
        assert rig.queue.activity().in_flight == 0


class TestThreads:
    def test_a_lone_waiter_receives_for_itself(self, rig: KeyedRig) -> None:
        data = buffer_of(5)
        pending = rig.submit([], [data])
        waiter = Background(finish, rig, pending)
        wait_until(lambda: rig.leading, "a leader")
        [room] = rig.far.receive().keyed()
        rig.far.write(room, b"hello")
        rig.far.complete_vq(pending.command_id, 5)
        assert list(waiter.result().lengths) == [5]
        assert bytes(data) == b"hello"
        assert not rig.leading

    def test_answers_in_any_order_find_their_requests(self, rig: KeyedRig) -> None:
        rig.use_eager(3000)
        dice = random.Random(5)

        def target() -> None:
            held: list[Message] = []
            while True:
                if not held or (len(held) < 3 and not rig.far.arrived.empty()):
                    held.append(rig.far.receive())
                    if held[-1].opcode == 0x1007:
                        return
                    continue
                message = held.pop(dice.randrange(len(held)))
                sent = b"".join(data for _addr, _key, data in message.writes)
                if sent:
                    [room] = message.keyed()
                else:
                    (out_length,) = struct.unpack_from("<I", message.data, 8)
                    out, room = divided(message, out_length)
                    sent = rig.far.read(out)
                rig.far.write(room, sent[::-1])
                rig.far.complete_vq(message.command_id, len(sent))

        def work(mark: int) -> int:
            for turn in range(60):
                sent = bytes([mark, turn]) * dice.randrange(1, 900)
                data = buffer_of(len(sent))
                pending = rig.submit([sent], [data])
                assert list(finish(rig, pending).lengths) == [len(sent)]
                assert bytes(data) == sent[::-1]
            return 60

        far = Background(target)
        workers = [Background(work, mark) for mark in range(6)]
        assert [worker.result() for worker in workers] == [60] * 6
        rig.queue.submit(rig.queue.prepare_control("end", struct.pack("<HH12x", 0x1007, 99)))
        far.result()
        assert rig.pool.taken == rig.at_rest

    def test_several_waiters_follow_one(self, rig: KeyedRig) -> None:
        pendings = [rig.submit([b"x"], []) for _ in range(4)]
        waiters = [Background(finish, rig, pending) for pending in pendings]
        wait_until(lambda: rig.followers == 3, "followers")
        for pending in reversed(pendings):
            rig.far.complete_vq(pending.command_id, 0)
        for waiter in waiters:
            waiter.result()


class TestTasks:
    @staticmethod
    def run(main: Callable[[], object]) -> None:
        async def bounded() -> None:
            with trio.fail_after(20):
                await main()  # type: ignore[misc]

        trio.run(bounded)

    def test_a_lone_task_is_woken_by_its_descriptor(self, rig: KeyedRig) -> None:
        async def main() -> None:
            for text in (b"one", b"two"):
                data = buffer_of(3)
                pending = rig.submit([], [data])
                [room] = rig.far.receive().keyed()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait_in_task, rig.queue, pending)
                    while not rig.leading:
                        await trio.sleep(0.001)
                    await trio.sleep(0.01)
                    rig.far.write(room, text)
                    rig.far.complete_vq(pending.command_id, 3)
                assert bytes(data) == text
                rig.queue.release(pending)

        self.run(main)

    def test_an_answer_that_was_there_before(self, rig: KeyedRig) -> None:
        async def main() -> None:
            pending = rig.submit([b"x"], [])
            rig.far.complete_vq(pending.command_id, 0)
            await wait_in_task(rig.queue, pending)

        self.run(main)

    def test_a_follower_that_inherits_the_lead(self, rig: KeyedRig) -> None:
        async def main() -> None:
            pendings = [rig.submit([b"x"], []) for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for pending in pendings:
                    nursery.start_soon(wait_in_task, rig.queue, pending)
                while rig.followers < 2:
                    await trio.sleep(0.001)
                for pending in pendings:
                    rig.far.complete_vq(pending.command_id, 0)
                    while not pending.done:
                        await trio.sleep(0.001)

        self.run(main)

    def test_a_loss_reaches_tasks(self, rig: KeyedRig) -> None:
        async def main() -> None:
            pending = rig.submit([b"x"], [])
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def wait() -> None:
                        with pytest.raises(Exception, match="closed by the target"):
                            await wait_in_task(rig.queue, pending)
                        scope.cancel()

                    nursery.start_soon(wait)
                    while not rig.leading:
                        await trio.sleep(0.001)
                    rig.far.break_off()

        self.run(main)
        assert len(rig.losses) == 1


class TestEvents:
    CHANGED = struct.pack("<HH12x", 0, 0xFFFE)
    KEEPALIVE = struct.pack("<HH12x", 0, 0xFFFF)

    def test_come_between_answers(self, rig: KeyedRig) -> None:
        rig.queue.accept_events()
        pending = rig.queue.prepare_control("get_num_queues", struct.pack("<HH12x", 0x1007, 0))
        rig.queue.submit(pending)
        rig.far.send(self.KEEPALIVE, self.CHANGED)
        rig.far.complete(0, 1)
        rig.queue.wait(pending)
        assert rig.queue.config_changes == 1

    def test_are_seen_on_an_idle_queue(self, rig: KeyedRig) -> None:
        rig.queue.accept_events()
        changed = threading.Event()
        watch = ConfigWatch(rig.queue, changed.set)
        try:
            for _ in range(3):
                rig.far.send(self.CHANGED)
                assert changed.wait(20)
                changed.clear()
            # After a command, whose waiter has received meanwhile.
            pending = rig.queue.prepare_control("get_num_queues", struct.pack("<HH12x", 0x1007, 0))
            rig.queue.submit(pending)
            rig.far.complete(0, 1)
            rig.queue.wait(pending)
            rig.far.send(self.CHANGED)
            assert changed.wait(20)
        finally:
            watch.stop()

    @pytest.mark.parametrize("event", [CHANGED, KEEPALIVE])
    def test_elsewhere_are_a_violation(self, rig: KeyedRig, event: bytes) -> None:
        pending = rig.submit([b"x"], [])
        rig.far.send(event)
        with pytest.raises(RemoteProtocolError, match="which is not in flight"):
            rig.queue.wait(pending)


class TestQuickAnswers:
    """As long as they come soon, nobody sleeps for them."""

    @staticmethod
    def exchange(rig: KeyedRig, *, asleep: bool = False) -> bool:
        """Send a request that is answered once somebody waits, or sleeps; return which."""
        pending = rig.submit([b"x"], [])
        waiter = Background(finish, rig, pending)
        wait_until(lambda: rig.link.armed if asleep else rig.leading, "a waiter")
        slept = rig.link.armed
        rig.far.complete_vq(pending.command_id, 0)
        waiter.result()
        return slept

    def test_are_looked_for(self, rig: KeyedRig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "SPIN", 20.0)
        pending = rig.submit([b"x"], [])
        rig.far.complete_vq(pending.command_id, 0)
        finish(rig, pending)
        rig.link.armed = False
        assert [self.exchange(rig) for _ in range(3)] == [False] * 3

    def test_that_end_with_a_slow_one(self, rig: KeyedRig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "SPIN", 0.0)
        for _ in range(3):
            rig.link.armed = False
            assert self.exchange(rig, asleep=True)

    def test_an_end_is_noticed(self, rig: KeyedRig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "SPIN", 20.0)
        self.test_are_looked_for(rig, monkeypatch)
        waiter = Background(finish, rig, rig.submit([b"x"], []))
        wait_until(lambda: rig.leading, "a waiter")
        rig.far.break_off()
        with pytest.raises(SessionLost, match="closed by the target"):
            waiter.result()


def test_figures(rig: KeyedRig) -> None:
    rig.use_eager(4096)
    pending = rig.submit([b"x" * 100], [buffer_of(50)])
    rig.far.complete_vq(pending.command_id, 50)
    finish(rig, pending)
    figures = rig.queue.statistics()
    assert (figures.submitted, figures.completed, figures.sends, figures.receives) == (1, 1, 1, 1)
    assert (figures.rdma_writes, figures.doorbells) == (1, 1)
    assert (figures.eager_sent, figures.eager_full) == (1, 0)
    assert figures.bytes_sent == 32 + 100
    assert figures.bytes_received == 16 + 50


def test_the_peer_is_given_no_key_of_what_is_not_registered(rig: KeyedRig) -> None:
    pending = rig.submit([HEADER], [buffer_of(4)])
    [out] = rig.far.receive().keyed()
    with pytest.raises(AssertionError, match="not good"):
        rig.far.read(Descriptor(out.addr, out.length, out.key - 1))
    rig.far.complete_vq(pending.command_id, 4)
    finish(rig, pending)
