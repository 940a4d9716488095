# SPDX-License-Identifier: BSD-3-Clause
"""virtio-blk against virtio 1.2 §5.2, written down a second time."""

from __future__ import annotations

from vof.wire import blk
from vof.wire.blk import (
    CONFIG_SIZE,
    DISCARD_SEGMENT,
    FIELDS_BY_FEATURE,
    LIFETIME,
    REQUEST_HEADER,
    WRITEBACK_OFFSET,
    Config,
    Feature,
    Lifetime,
    RequestType,
    Status,
)
from vof.wire.layout import layout_of
from vof.wire.structs import pack, unpack

CONFIG_FIELDS = {
    # §5.2.4: offset and size in bytes
    "capacity": (0, 8),
    "size_max": (8, 4),
    "seg_max": (12, 4),
    "cylinders": (16, 2),
    "heads": (18, 1),
    "sectors": (19, 1),
    "blk_size": (20, 4),
    "physical_block_exp": (24, 1),
    "alignment_offset": (25, 1),
    "min_io_size": (26, 2),
    "opt_io_size": (28, 4),
    "writeback": (32, 1),
    "unused0": (33, 1),
    "num_queues": (34, 2),
    "max_discard_sectors": (36, 4),
    "max_discard_seg": (40, 4),
    "discard_sector_alignment": (44, 4),
    "max_write_zeroes_sectors": (48, 4),
    "max_write_zeroes_seg": (52, 4),
    "write_zeroes_may_unmap": (56, 1),
    "unused1": (57, 3),
    "max_secure_erase_sectors": (60, 4),
    "max_secure_erase_seg": (64, 4),
    "secure_erase_sector_alignment": (68, 4),
}


def test_config_fields() -> None:
    assert layout_of(Config).fields == CONFIG_FIELDS
    assert list(layout_of(Config).fields) == list(Config._fields)
    assert layout_of(Config).size == CONFIG_SIZE == 72
    assert WRITEBACK_OFFSET == 32


def test_config_golden_bytes() -> None:
    raw = bytes(range(1, 73))
    config = unpack(Config, raw)
    assert pack(config) == raw
    for name, (offset, size) in CONFIG_FIELDS.items():
        value = getattr(config, name)
        if name == "unused1":
            assert value == raw[offset : offset + size]
        else:
            assert value == int.from_bytes(raw[offset : offset + size], "little"), name


def test_an_empty_config_is_zeros() -> None:
    assert pack(Config()) == bytes(72)


def test_request_header() -> None:
    golden = bytes.fromhex("01 00 00 00  04 40 00 00  08 07 06 05 04 03 02 01")
    assert REQUEST_HEADER.pack(RequestType.OUT, 0x4004, 0x0102030405060708) == golden
    assert REQUEST_HEADER.unpack(golden) == (1, 0x4004, 0x0102030405060708)
    assert list(REQUEST_HEADER.fields) == ["type", "reserved", "sector"]


def test_discard_segment() -> None:
    golden = bytes.fromhex("08 07 06 05 04 03 02 01  44 33 22 11  01 00 00 00")
    segment = (0x0102030405060708, 0x11223344, blk.SEGMENT_FLAG_UNMAP)
    assert DISCARD_SEGMENT.pack(*segment) == golden
    assert DISCARD_SEGMENT.unpack(golden) == segment
    assert list(DISCARD_SEGMENT.fields) == ["sector", "num_sectors", "flags"]


def test_lifetime() -> None:
    golden = bytes.fromhex("01 00  0b 00  02 01")
    assert Lifetime._make(LIFETIME.unpack(golden)) == Lifetime(
        pre_eol_info=1, est_typ_a=11, est_typ_b=0x0102
    )
    assert LIFETIME.pack(1, 11, 0x0102) == golden


def test_feature_bits() -> None:
    assert {bit.name: bit.value.bit_length() - 1 for bit in Feature} == {
        "BARRIER": 0,
        "SIZE_MAX": 1,
        "SEG_MAX": 2,
        "GEOMETRY": 4,
        "RO": 5,
        "BLK_SIZE": 6,
        "SCSI": 7,
        "FLUSH": 9,
        "TOPOLOGY": 10,
        "CONFIG_WCE": 11,
        "MQ": 12,
        "DISCARD": 13,
        "WRITE_ZEROES": 14,
        "LIFETIME": 15,
        "SECURE_ERASE": 16,
    }


def test_request_types() -> None:
    assert {kind.name: kind.value for kind in RequestType} == {
        "IN": 0,
        "OUT": 1,
        "FLUSH": 4,
        "GET_ID": 8,
        "GET_LIFETIME": 10,
        "DISCARD": 11,
        "WRITE_ZEROES": 13,
        "SECURE_ERASE": 14,
    }


def test_status_bytes() -> None:
    assert {status.name: status.value for status in Status} == {"OK": 0, "IOERR": 1, "UNSUPP": 2}


def test_other_numbers() -> None:
    assert blk.SECTOR_SIZE == 512 == 1 << blk.SECTOR_SHIFT
    assert blk.GET_ID_SIZE == 20


def test_every_config_field_comes_with_one_feature() -> None:
    fields = [name for names in FIELDS_BY_FEATURE.values() for name in names]
    unused = {"unused0", "unused1"}
    assert len(fields) == len(set(fields))
    assert set(fields) == CONFIG_FIELDS.keys() - unused


def test_features_that_bring_config_fields() -> None:
    assert FIELDS_BY_FEATURE[None] == ("capacity",)
    without = {
        Feature.BARRIER,
        Feature.RO,
        Feature.SCSI,
        Feature.FLUSH,
        Feature.LIFETIME,
    }
    assert FIELDS_BY_FEATURE.keys() - {None} == set(Feature) - without
    assert FIELDS_BY_FEATURE[Feature.CONFIG_WCE] == ("writeback",)
    assert FIELDS_BY_FEATURE[Feature.MQ] == ("num_queues",)
    for feature, prefix in [
        (Feature.DISCARD, "discard"),
        (Feature.WRITE_ZEROES, "write_zeroes"),
        (Feature.SECURE_ERASE, "secure_erase"),
    ]:
        assert all(prefix in name for name in FIELDS_BY_FEATURE[feature])
