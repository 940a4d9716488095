# SPDX-License-Identifier: BSD-3-Clause
"""Conversations of v5 and v2, byte by byte as their texts lay them out, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.unit.decode.said import body
from vof.decode.association import Associations
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Bytes, Direction, Message, Where
from vof.decode.stream import StreamConnection
from vof.decode.text import Text

I2T, T2I = Direction

NAMES = "ivqn vqn.uuid:an-initiator, tvqn a-target/a-disk"


def shown(messages: Iterable[Message]) -> str:
    """Return the lines for people without the times."""
    text = Text(with_bytes=False, with_keys=False)
    lines = [line for each in messages for line in text.show(each).splitlines()]
    return "".join(f"{line[13:].removeprefix('  0 ')}\n" for line in lines)


def told(words: str, begin: Callable[[], StreamConnection]) -> str:
    """Return what is told of a stream; a line is an arrow, the bytes, and a remark."""
    connection = begin()
    found: list[Message] = []
    for number, line in enumerate(words.strip().splitlines()):
        arrow, _, rest = line.strip().partition(" ")
        digits = rest.partition("#")[0]
        data = b"".join(
            body() if part == "BODY" else bytes.fromhex(part) for part in digits.split()
        )
        direction = I2T if arrow == ">" else T2I
        found += connection.data(direction, data, Where(number))
    return shown(found)


def stream(associations: Associations) -> Callable[[], StreamConnection]:
    return lambda: StreamConnection(0, "a-target", associations, begins=True)


V5_CONTROL = """
> 0000 0100 ffff 0000 00040000 0000 0000 BODY   # connect
< 0000 0100 0500 000000000000 00000000          # device instance 5
> 0010 0200 000000000000000000000000            # get_vendor_id
< 0000 0200 31464f56 0000000000000000           # "VOF1"
> 0110 0300 000000000000000000000000            # get_device_id
< 0000 0300 02000000 0000000000000000
> 0400 0400 00000000 0000000000000000           # get_feature
< 0000 0400 00000000 0300000000000000
> 0500 0500 00000000 0100000000000000           # set_feature
< 0000 0500 000000000000000000000000
> 0001 0600 000000000000000000000000            # get_keyed_num_descs
< 0000 0600 04 0000000000000000000000
> 0410 0700 000000000000000000000000            # get_status
< 0000 0700 0f000000 0000000000000000
> 0510 0800 03000000 0000000000000000           # set_status
< 0000 0800 000000000000000000000000
> 0610 0900 00000000 0000000000000000           # get_device_feature
< 0000 0900 00000000 4002000001000000
> 0910 0a00 00000000 4002000001000000           # set_driver_feature
< 0000 0a00 000000000000000000000000
> 0a10 0b00 0300 00000000000000000000           # get_vq_size of virtqueue 3
< 0000 0b00 4000 00000000000000000000
> 0a10 0c00 6300 00000000000000000000           # of one that there is not
< 2010 0c00 000000000000000000000000
> 0c10 0d00 1400 04 00 0000000000000000         # get_config, 4 bytes at 20
< 0000 0d00 07000000 0010000099999999           # generation 7
> 0d10 0e00 2000 01 00 0100000000000000         # set_config, 1 byte at 32
< 3020 0e00 000000000000000000000000
< 0000 feff 08000000 0000000000000000           # the config has changed
< 0000 ffff 000000000000000000000000            # keepalive of the target
> 0200 0f00 000000000000000000000000            # keepalive
< 0000 0f00 000000000000000000000000
> 0310 1000 000000000000000000000000            # reset_device
< 0000 1000 000000000000000000000000
> 0210 1100 000000000000000000000000            # what was get_generation
< 0100 1100 000000000000000000000000
> 0100 1200 000000000000000000000000            # disconnect
< 0000 1200 000000000000000000000000
"""

V5_CONTROL_TOLD = f"""\
ctl   → connect                  1  queue control, dialect v5, {NAMES}
ctl   ← connect                  1  ok; device_instance_id 5
ctl   → get_vendor_id            2
ctl   ← get_vendor_id            2  ok; vendor vof
ctl   → get_device_id            3
ctl   ← get_device_id            3  ok; block
ctl   → get_feature              4  feature_select 0
ctl   ← get_feature              4  ok; value 0x3 (KEYED_NUM_DESCS|KEYED_EAGER_BUF)
ctl   → set_feature              5  feature_select 0, value 0x1 (KEYED_NUM_DESCS)
ctl   ← set_feature              5  ok
ctl   → get_keyed_num_descs      6
ctl   ← get_keyed_num_descs      6  ok; descs 4
ctl   → get_status               7
ctl   ← get_status               7  ok; device_status 0xf (ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK)
ctl   → set_status               8  device_status 0x3 (ACKNOWLEDGE|DRIVER)
ctl   ← set_status               8  ok
ctl   → get_device_feature       9
ctl   ← get_device_feature       9  ok; features 0x100000240 (BLK_SIZE|FLUSH|VERSION_1)
ctl   → set_driver_feature      10  features 0x100000240 (BLK_SIZE|FLUSH|VERSION_1)
ctl   ← set_driver_feature      10  ok
ctl   → get_vq_size             11  queue 3
ctl   ← get_vq_size             11  ok; size 64
ctl   → get_vq_size             12  queue 99
ctl   ← get_vq_size             12  status 0x1020: virtqueue index too large
ctl   → get_config              13  field blk_size, offset 20, bytes 4
ctl   ← get_config              13  ok; value 4096, generation 7
ctl   → set_config              14  field writeback, offset 32, bytes 1, value 1
ctl   ← set_config              14  status 0x2030: beyond the config space
ctl   ← event config_change  65534  generation 8
ctl   ← event keepalive      65535
ctl   → keepalive               15
ctl   ← keepalive               15  ok
ctl   → reset_device            16
ctl   ← reset_device            16  ok
ctl   → ?                       17
! opcode 0x1002 is not one of dialect v5
ctl   ← ?                       17  status 1: unknown or disabled command
ctl   → disconnect              18
ctl   ← disconnect              18  ok
"""

V5_VIRTQUEUE = """
> 0000 0100 0500 0200 00000000 8000 0000        # connect without a body, 128 commands
< 0000 0100 0500 000000000000 00000000
> ff0f 0200 00000000 18000000 01000000  01000000 00000000 0800000000000000 6162636465666768
< 0000 0200 00000000 01000000 01000000  00
> ff0f 0300 00000000 10000000 05000000  00000000 00000000 0900000000000000
< 0000 0300 00000000 05000000 05000000  6461746101
> ff0f 0400 00000000 10000000 05000000  00000000 00000000 0900000000000000
< f120 0400 00000000 00000000 05000000
"""

V5_VIRTQUEUE_TOLD = f"""\
vq2   → connect                  1  queue 2, device_instance_id 5, queue_size 128, dialect v5, {NAMES}
vq2   ← connect                  1  ok; device_instance_id 5
vq2   → vq                       2  block OUT sector 8, bytes 8; readable 24, writable 1
vq2   ← vq                       2  ok; device status OK; written 1
vq2   → vq                       3  block IN sector 9, bytes 4; readable 16, writable 5
vq2   ← vq                       3  ok; device status IOERR; written 5
vq2   → vq                       4  block IN sector 9, bytes 4; readable 16, writable 5
vq2   ← vq                       4  status 0x20f1: the device-writable buffers could not be written
"""  # noqa: E501


def test_v5_on_a_stream() -> None:
    associations = Associations()
    assert told(V5_CONTROL, stream(associations)) == V5_CONTROL_TOLD
    assert told(V5_VIRTQUEUE, stream(associations)) == V5_VIRTQUEUE_TOLD


REFUSALS = {
    "0100": "status 1: unknown or disabled command",
    "0200": "status 2: too many commands in flight",
    "0110": "status 0x1001: there is no target of that tvqn",
    "0210": "status 0x1002: the device instance could not be created",
    "0310": "status 0x1003: refused by access control",
    "1010": "status 0x1010: bad device instance id",
    "1110": "status 0x1011: bad name, or not the device instance's",
    "2110": "status 0x1021: virtqueue in use",
    "2210": "status 0x1022: queue size too large",
    "0020": "status 0x2000: transport feature not supported",
    "3333": "status 0x3333: a status that no text has",
}


def test_v5_refuses_in_words() -> None:
    connect = "> 0000 0100 ffff 0000 00040000 0000 0000 BODY\n"
    for status, words in REFUSALS.items():
        found = told(f"{connect}< {status} 0100 0000000000000000 00000000", stream(Associations()))
        assert found.splitlines()[1] == f"ctl   ← connect                  1  {words}"


V2_CONTROL = """
> 0000 0100 ffff 0000 0100 01 0000000000  0000000000000000 00040000 0000 0000 0000000000000000 BODY
< 0000 0100 0000 0000 0500000000000000
> 0010 0200 000000000000000000000000            # get_vendor_id
< 0000 0200 0000 0000 5447545600000000
> 0110 0300 000000000000000000000000            # get_device_id
< 0000 0300 0000 0000 0400000000000000
> 0200 0400 00000000 0000000000000000           # get_feature: most segments
< 0000 0400 0000 0000 8000000000000000
> 0300 0500 01000000 0010000000000000           # set_feature: stream size
< 0000 0500 0000 0000 0000000000000000
> 0210 0600 000000000000000000000000            # get_generation
< 0000 0600 0000 0000 0700000000000000
> 0410 0700 000000000000000000000000            # get_status
< 0000 0700 0000 0000 0100000000000000
> 0510 0800 00000000 0300000000000000           # set_status, whose value is at 8
< 0000 0800 0000 0000 0000000000000000
> 0610 0900 00000000 0000000000000000           # get_device_feature
< 0000 0900 0000 0000 0000000001000000
> 0710 0a00 00000000 0000000001000000           # set_driver_feature
< 0000 0a00 0000 0000 0000000000000000
> 0810 0b00 000000000000000000000000            # get_num_queues
< 0000 0b00 0000 0000 0200000000000000
> 0a10 0c00 0100 0000 0000000000000000          # get_queue_size
< 0000 0c00 0000 0000 4000000000000000
> 0c10 0d00 0000 08 00 0000000000000000         # get_config
< 1600 0d00 0000 0000 0000000000000000
> 0d10 0e00 0000 01 00 0100000000000000         # set_config
< 0010 0e00 0000 0000 0000000000000000
> 0400 0f00 000000000000000000000000            # keepalive
< 0000 0f00 0000 0000 0000000000000000
< 0000 feff 0000 0000 0000000000000000          # the config has changed
> 0100 1000 000000000000000000000000            # disconnect
< 0000 1000 0000 0000 0000000000000000
"""

V2_CONTROL_TOLD = f"""\
ctl   → connect                  1  queue control, dialect v2, {NAMES}
ctl   ← connect                  1  ok; target_id 5
ctl   → get_vendor_id            2
ctl   ← get_vendor_id            2  ok; vendor vtgt
ctl   → get_device_id            3
ctl   ← get_device_id            3  ok; rng
ctl   → get_feature              4  feature_select 0
ctl   ← get_feature              4  ok; value 128
ctl   → set_feature              5  feature_select 1, value 4096
ctl   ← set_feature              5  ok
ctl   → get_generation           6
ctl   ← get_generation           6  ok; generation 7
ctl   → get_status               7
ctl   ← get_status               7  ok; device_status 0x1 (ACKNOWLEDGE)
ctl   → set_status               8  device_status 0x3 (ACKNOWLEDGE|DRIVER)
ctl   ← set_status               8  ok
ctl   → get_device_feature       9
ctl   ← get_device_feature       9  ok; features 0x100000000 (VERSION_1)
ctl   → set_driver_feature      10  features 0x100000000 (VERSION_1)
ctl   ← set_driver_feature      10  ok
ctl   → get_num_queues          11
ctl   ← get_num_queues          11  ok; queues 2
ctl   → get_queue_size          12  queue 1
ctl   ← get_queue_size          12  ok; size 64
ctl   → get_config              13  offset 0, bytes 8
ctl   ← get_config              13  status 22: EINVAL (Invalid argument)
ctl   → set_config              14  offset 0, bytes 1, value 1
ctl   ← set_config              14  status 4096: some other error
ctl   → keepalive               15
ctl   ← keepalive               15  ok
ctl   ← event config_change  65534
ctl   → disconnect              16
ctl   ← disconnect              16  ok
"""

V2_VIRTQUEUE = """
> 0000 0100 0500 0000 0100 01 0000000000  0000000000000000 00040000 0000 0000 0000000000000000 BODY
< 0000 0100 0000 0000 0500000000000000
> ff0f 0200 00000000 0100 000000000000  0000000000000000 08000000 0000 0200 00000000 00000000
< 0000 0200 0100 0000 0400000000000000
< 0000000000000000 04000000 0000 0200 00000000 00000000 64617461
"""

V2_VIRTQUEUE_TOLD = f"""\
vq0   → connect                  1  queue 0, target_id 5, dialect v2, {NAMES}
vq0   ← connect                  1  ok; target_id 5
vq0   → vring                    2  rng bytes 8; readable 0, writable 8
vq0   ← vring                    2  ok; device bytes 4; written 4
"""


def test_v2_on_a_stream() -> None:
    associations = Associations()
    assert told(V2_CONTROL, stream(associations)) == V2_CONTROL_TOLD
    assert told(V2_VIRTQUEUE, stream(associations)) == V2_VIRTQUEUE_TOLD


V5_KEYED = """
control > 0000 0100 ffff 0000 00040000 0000 0000  0090000000000000 00040000 09000000
control read 9000 9 BODY
control < 0000 0100 0500 000000000000 00000000
control > 0110 0200 000000000000000000000000
control < 0000 0200 02000000 0000000000000000
control > 0500 0300 00000000 0300000000000000
control < 0000 0300 000000000000000000000000
control > 0201 0400 0000 02 000000000000000000  0040000000000000 20000000 04000000
control write 4000 4 0000070000000000 40000000 46000000 0000080000000000 64000000 50000000
control < 0000 0400 02 0000000000000000000000
queue > 0000 0100 0500 0000 00000000 0000 0000
queue < 0000 0100 0500 000000000000 00000000
queue > ff0f 0200 00000000 10000000 05000000  0010000000000000 15000000 01000000
queue read 1000 1 00000000 00000000 0900000000000000
queue write 1010 1 6461746100
queue < 0000 0200 00000000 05000000 00000000
queue eager 70000 46 01000000 00000000 0800000000000000 6162636465666768
queue > fe0f 0300 00000000 18000000 01000000  0030000000000000 01000000 03000000
queue write 3000 3 00
queue < 0000 0300 01000000 0000000000000000
"""

V5_KEYED_TOLD = f"""\
ctl   → connect                  1  queue control, dialect v5
ctl   ← read connect             1  addr 0x9000, key 0x9, bytes 1024, offset 0, {NAMES}
ctl   ← connect                  1  ok; device_instance_id 5
ctl   → get_device_id            2
ctl   ← get_device_id            2  ok; block
ctl   → set_feature              3  feature_select 0, value 0x3 (KEYED_NUM_DESCS|KEYED_EAGER_BUF)
ctl   ← set_feature              3  ok
ctl   → get_keyed_eager_buf      4  queue 0, descs 2
ctl   ← write get_keyed_eager_buf     4  addr 0x4000, key 0x4, bytes 32, offset 0
ctl   ← get_keyed_eager_buf      4  ok; descs 2, buffers (addr 0x70000, length 64, key 0x46)/(addr 0x80000, length 100, key 0x50)
vq0   → connect                  1  queue 0, device_instance_id 5, dialect v5, {NAMES}
vq0   ← connect                  1  ok; device_instance_id 5
vq0   → vq                       2  readable 16, writable 5
vq0   ← read vq                  2  block IN sector 9, bytes 4; addr 0x1000, key 0x1, bytes 16, offset 0
vq0   ← write vq                 2  addr 0x1010, key 0x1, bytes 5, offset 0
vq0   ← vq                       2  ok; device status OK; written 5
vq0   → write vq_keyed_eager_buf        addr 0x70000, key 0x46, bytes 24, offset 0
vq0   → vq_keyed_eager_buf       3  block OUT sector 8, bytes 8; out_offset 0, readable 24, writable 1
vq0   ← write vq_keyed_eager_buf     3  addr 0x3000, key 0x3, bytes 1, offset 0
vq0   ← vq_keyed_eager_buf       3  ok; device status OK; written 1
"""  # noqa: E501


def test_v5_over_rdma() -> None:
    associations = Associations()
    connections = {
        name: KeyedConnection(0, "a-target", associations, begins=True)
        for name in ("control", "queue")
    }
    found: list[Message] = []
    for number, line in enumerate(V5_KEYED.strip().splitlines()):
        name, operation, *rest = line.split()
        connection, where = connections[name], Where(number)
        if operation in "<>":
            data = Bytes(bytes.fromhex("".join(rest)))
            found += connection.send(I2T if operation == ">" else T2I, data, where)
            continue
        addr, key, *digits = rest
        data = Bytes(body() if digits == ["BODY"] else bytes.fromhex("".join(digits)))
        place = int(addr, 16), int(key, 16)
        if operation == "read":
            found += connection.read(T2I, *place, data, where)
        else:
            found += connection.write(I2T if operation == "eager" else T2I, *place, data, where)
    assert shown(found) == V5_KEYED_TOLD
