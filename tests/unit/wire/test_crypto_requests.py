# SPDX-License-Identifier: BSD-3-Clause
"""Data requests of virtio-crypto: golden bytes, round trips, and lies about lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.crypto_samples import (
    CONFIG,
    EVERY_FEATURE,
    LIES,
    PADDED,
    field_at,
    joined,
    operations,
    with_field,
)
from vof.errors import LocalProtocolError
from vof.wire.crypto import (
    STATELESS_MODE,
    AeadAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Config,
    ControlOpcode,
    Curve,
    DataOpcode,
    Direction,
    Feature,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaPadding,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest, check_request
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    Parameters,
    RsaScheme,
)
from vof.wire.crypto_requests import (
    DATA_HEADER,
    SESSION_MODE_LAYOUTS,
    STATELESS_LAYOUTS,
    STATUS_SIZE,
    data_request,
    parse_data_request,
)
from vof.wire.crypto_sessions import WireRequest

REVISION_1 = Feature.REVISION_1
SESSION = 0x0102030405060708
IN_SESSION = "08 07 06 05 04 03 02 01  01 00 00 00  00 00 00 00"
STATELESS = 16 * "00"
AES_IV, AES_BLOCK = b"iviviviviviviviv", b"0123456789abcdef"

GOLDEN: list[tuple[DataRequest, str, tuple[bytes, ...], tuple[int, ...]]] = [
    # request, opcode and algorithm and fixed part, further readable buffers, writable ones
    (
        DataRequest(
            DataOpcode.CIPHER_DECRYPT, SESSION, src=AES_BLOCK * 2, result_len=32, iv=AES_IV
        ),
        "01 00 00 00  00 00 00 00  SESSION  10 00 00 00  20 00 00 00  20 00 00 00  00 00 00 00"
        + 24 * "00"
        + "01 00 00 00  00 00 00 00",
        (AES_IV, AES_BLOCK * 2),
        (32, 1),
    ),
    (
        DataRequest(DataOpcode.HASH, SESSION, src=b"abc", result_len=20),
        "00 01 00 00  00 00 00 00  SESSION  03 00 00 00  14 00 00 00",
        (b"abc",),
        (20, 1),
    ),
    (
        DataRequest(DataOpcode.MAC, SESSION, src=b"abcd", result_len=12, algo=2),
        "00 02 00 00  02 00 00 00  SESSION  04 00 00 00  0c 00 00 00",
        (b"abcd",),
        (12, 1),
    ),
    (
        DataRequest(
            DataOpcode.AEAD_ENCRYPT,
            SESSION,
            src=b"plain",
            result_len=21,
            iv=b"nonce-nonce-",
            aad=b"header",
            tag_len=16,
        ),
        "00 03 00 00  00 00 00 00  SESSION  0c 00 00 00  06 00 00 00  05 00 00 00  15 00 00 00"
        "10 00 00 00  00 00 00 00",
        (b"nonce-nonce-", b"plain", b"header"),
        (21, 1),
    ),
    (
        DataRequest(DataOpcode.AKCIPHER_SIGN, SESSION, src=b"digest", result_len=256, algo=1),
        "02 04 00 00  01 00 00 00  SESSION  06 00 00 00  00 01 00 00",
        (b"digest",),
        (256, 1),
    ),
    (
        DataRequest(DataOpcode.AKCIPHER_VERIFY, SESSION, src=b"signature", signed=b"digest"),
        "03 04 00 00  00 00 00 00  SESSION  09 00 00 00  06 00 00 00",
        (b"signaturedigest",),
        (1,),
    ),
    (
        DataRequest(
            DataOpcode.CIPHER_ENCRYPT,
            parameters=CipherParameters(CipherAlgorithm.AES_XTS, Direction.ENCRYPT, bytes(64)),
            src=AES_BLOCK,
            result_len=16,
            iv=AES_IV,
        ),
        "00 00 00 00  00 00 00 00  STATELESS  0d 00 00 00  40 00 00 00  01 00 00 00  10 00 00 00"
        "10 00 00 00  10 00 00 00" + 48 * "00" + "01 00 00 00",
        (bytes(64), AES_IV, AES_BLOCK),
        (16, 1),
    ),
    (
        DataRequest(
            DataOpcode.HASH,
            parameters=HashParameters(HashAlgorithm.SHA_256, 32),
            src=b"abc",
            result_len=32,
        ),
        "00 01 00 00  00 00 00 00  STATELESS  04 00 00 00  03 00 00 00  20 00 00 00  00 00 00 00",
        (b"abc",),
        (32, 1),
    ),
    (
        DataRequest(
            DataOpcode.MAC,
            parameters=MacParameters(MacAlgorithm.HMAC_SHA_256, 32, b"key"),
            src=b"abcd",
            result_len=32,
        ),
        "00 02 00 00  00 00 00 00  STATELESS  04 00 00 00  03 00 00 00  04 00 00 00  20 00 00 00",
        (b"key", b"abcd"),
        (32, 1),
    ),
    (
        DataRequest(
            DataOpcode.AEAD_DECRYPT,
            parameters=AeadParameters(AeadAlgorithm.CCM, Direction.DECRYPT, AES_BLOCK, 8),
            src=b"secrettagtagta",
            result_len=6,
            iv=b"7 bytes",
            aad=b"head",
        ),
        "01 03 00 00  00 00 00 00  STATELESS  02 00 00 00  10 00 00 00  02 00 00 00  07 00 00 00"
        "08 00 00 00  04 00 00 00  0e 00 00 00  06 00 00 00",
        (AES_BLOCK, b"7 bytes", b"secrettagtagta", b"head"),
        (6, 1),
    ),
    (
        DataRequest(
            DataOpcode.AKCIPHER_VERIFY,
            parameters=AkcipherParameters(EcdsaScheme(Curve.NIST_P384), KeyType.PUBLIC, b"\4point"),
            src=b"signature",
            signed=b"digest",
        ),
        "03 04 00 00  00 00 00 00  STATELESS  02 00 00 00  01 00 00 00  06 00 00 00  04 00 00 00"
        "00 00 00 00  09 00 00 00  06 00 00 00",
        (b"\4point", b"signaturedigest"),
        (1,),
    ),
]


def golden_id(value: object) -> str:
    if isinstance(value, DataRequest):
        return f"{value.opcode.name}-{'stateless' if value.parameters else 'session'}"
    return ""


each_request = pytest.mark.parametrize("request_", [golden[0] for golden in GOLDEN], ids=golden_id)


@pytest.mark.parametrize(("request_", "head", "buffers", "room"), GOLDEN, ids=golden_id)
def test_golden_bytes(
    request_: DataRequest, head: str, buffers: tuple[bytes, ...], room: tuple[int, ...]
) -> None:
    raw = bytes.fromhex(head.replace("SESSION", IN_SESSION).replace("STATELESS", STATELESS))
    encoded = data_request(request_, EVERY_FEATURE)
    assert encoded == WireRequest((raw, *buffers), room)
    parsed = parse_data_request(*joined(encoded), EVERY_FEATURE, CONFIG)
    assert parsed == request_
    assert parsed.algo == request_.algo
    if request_.parameters is None:
        # Without REVISION_1: no flag, and every fixed part is 48 bytes.
        padded = raw[:16] + bytes(4) + raw[20:] + bytes(72 - len(raw))
        encoded = data_request(request_, PADDED)
        assert encoded == WireRequest((padded, *buffers), room)
        assert parse_data_request(*joined(encoded), PADDED, CONFIG) == request_


def test_sizes_of_fixed_parts() -> None:
    assert (DATA_HEADER.size, STATUS_SIZE) == (24, 1)
    assert {
        service.name: (layout.size, STATELESS_LAYOUTS[service].size)
        for service, layout in SESSION_MODE_LAYOUTS.items()
    } == {
        "CIPHER": (48, 76),
        "HASH": (8, 16),
        "MAC": (8, 16),
        "AEAD": (24, 32),
        "AKCIPHER": (8, 28),
    }


@given(
    st.sampled_from(Service).flatmap(operations),
    st.sampled_from([PADDED, REVISION_1, EVERY_FEATURE]),
)
def test_round_trip_in_a_session(
    operation: tuple[Parameters, DataRequest], features: Feature
) -> None:
    parameters, request = operation
    parsed = parse_data_request(*joined(data_request(request, features)), features, CONFIG)
    assert parsed == request
    check_request(parsed, parameters)


@given(st.sampled_from(Service).flatmap(operations))
def test_round_trip_without_a_session(operation: tuple[Parameters, DataRequest]) -> None:
    parameters, request = operation
    request = replace(request, parameters=parameters, session_id=0, tag_len=0)
    features = REVISION_1 | STATELESS_MODE[request.service]
    raw, room = joined(data_request(request, features))
    assert parse_data_request(raw, room, features, CONFIG) == request
    limit = CONFIG._replace(max_size=request.variable_size)
    assert parse_data_request(raw, room, features, limit) == request


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda number, flag, rest: DATA_HEADER.pack(number, 0, 0, flag, 0) + rest,
        st.sampled_from(DataOpcode),
        st.integers(0, 1),
        st.lists(st.integers(0, 20), max_size=30).map(
            lambda words: b"".join(word.to_bytes(4, "little") for word in words)
        ),
    ),
    st.integers(0, 40),
    st.sampled_from([PADDED, REVISION_1, EVERY_FEATURE]),
)
def test_anything_is_parsed_or_refused(raw: bytes, writable: int, features: Feature) -> None:
    try:
        parsed = parse_data_request(raw, writable, features, CONFIG)
    except BadRequest:
        return
    assert parsed.result_len + 1 == writable
    assert sum(map(len, parsed.parts.values())) <= len(raw)


def refused(raw: bytes, room: int, features: Feature, config: Config = CONFIG) -> Status:
    with pytest.raises(BadRequest) as caught:
        parse_data_request(raw, room, features, config)
    return caught.value.status


@each_request
@pytest.mark.parametrize("features", [PADDED, EVERY_FEATURE], ids=["padded", "revision_1"])
def test_every_length_lied_about_is_refused(request_: DataRequest, features: Feature) -> None:
    if request_.parameters and features == PADDED:
        return
    raw, room = joined(data_request(request_, features))
    layouts = STATELESS_LAYOUTS if request_.parameters else SESSION_MODE_LAYOUTS
    lengths = 0
    for name, field in layouts[request_.service].fields.items():
        if not name.endswith("_len") or (name == "tag_len" and not request_.parameters):
            continue
        lengths += 1
        place = DATA_HEADER.size + field.offset
        true = field_at(raw, place)
        lies = {0, true - 1, true + 1, *LIES}
        if name == "tag_len":
            # Another length that a tag can have is as true, as long as the text has room.
            lies = {0, 17, *LIES}
        for lie in lies:
            assert refused(with_field(raw, place, lie), room, features) == Status.ERR, (name, lie)
    assert lengths >= 2


@each_request
def test_other_sizes_than_said_are_refused(request_: DataRequest) -> None:
    raw, room = joined(data_request(request_, EVERY_FEATURE))
    for size in (0, 23, 24, 27, len(raw) - 1):
        assert refused(raw[:size], room, EVERY_FEATURE) == Status.ERR
    assert refused(raw + b"\0", room, EVERY_FEATURE) == Status.ERR
    for other in (0, room - 1, room + 1, 1 << 32):
        assert refused(raw, other, EVERY_FEATURE) == Status.ERR


def test_source_and_destination_that_only_add_up() -> None:
    """Both lengths are true, but no cipher makes the one of the other: CVE-2023-3180."""
    request = DataRequest(DataOpcode.CIPHER_ENCRYPT, src=bytes(16), result_len=32, iv=AES_IV)
    for features in (PADDED, REVISION_1):
        assert refused(*joined(data_request(request, features)), features) == Status.ERR


def test_tags_that_are_not_the_sessions() -> None:
    session = AeadParameters(AeadAlgorithm.GCM, Direction.ENCRYPT, b"k", tag_len=16)
    raw, room = joined(data_request(GOLDEN[3][0], REVISION_1))
    place = DATA_HEADER.size + SESSION_MODE_LAYOUTS[Service.AEAD].fields["tag_len"].offset
    for lie in (1, 15, 17, *LIES):
        parsed = parse_data_request(with_field(raw, place, lie), room, REVISION_1, CONFIG)
        with pytest.raises(BadRequest) as caught:
            check_request(parsed, session)
        assert caught.value.status == Status.ERR
    check_request(parse_data_request(raw, room, REVISION_1, CONFIG), session)


@each_request
def test_requests_beyond_max_size(request_: DataRequest) -> None:
    raw, room = joined(data_request(request_, EVERY_FEATURE))
    size = request_.variable_size
    limit = CONFIG._replace(max_size=size)
    assert parse_data_request(raw, room, EVERY_FEATURE, limit) == request_
    assert refused(raw, room, EVERY_FEATURE, CONFIG._replace(max_size=size - 1)) == Status.ERR
    unlimited = CONFIG._replace(max_size=0)
    assert parse_data_request(raw, room, EVERY_FEATURE, unlimited) == request_


@pytest.mark.parametrize("number", [*ControlOpcode, 0x500, 0x101, 0xFFFFFFFF])
def test_what_is_no_data_request(number: int) -> None:
    raw = DATA_HEADER.pack(number, 0, 0, 1, 0) + bytes(48)
    assert refused(raw, 17, PADDED) == Status.NOTSUPP


@each_request
def test_services_that_are_not_offered(request_: DataRequest) -> None:
    raw, room = joined(data_request(request_, EVERY_FEATURE))
    offered = CONFIG.crypto_services & ~(1 << request_.service)
    config = CONFIG._replace(crypto_services=offered)
    assert refused(raw, room, EVERY_FEATURE, config) == Status.NOTSUPP


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_only_plain_ciphers(kind: int) -> None:
    for index, place in ((0, 64), (6, 96)):
        raw, room = joined(data_request(GOLDEN[index][0], EVERY_FEATURE))
        assert field_at(raw, place) == 1
        assert refused(with_field(raw, place, kind), room, EVERY_FEATURE) == Status.NOTSUPP


@pytest.mark.parametrize("service", Service)
def test_stateless_mode_has_to_be_agreed_on(service: Service) -> None:
    request = next(g[0] for g in GOLDEN if g[0].parameters and g[0].service == service)
    agreed = REVISION_1 | STATELESS_MODE[service]
    raw, room = joined(data_request(request, agreed))
    assert parse_data_request(raw, room, agreed, CONFIG) == request
    others = EVERY_FEATURE & ~STATELESS_MODE[service]
    assert refused(raw, room, others) == Status.NOTSUPP
    # Without REVISION_1 there is no flag: what was sent is no request in a session.
    assert refused(raw, room, STATELESS_MODE[service]) in {Status.ERR, Status.NOTSUPP}
    for features in (others, STATELESS_MODE[service], PADDED):
        with pytest.raises(LocalProtocolError, match="not agreed"):
            data_request(request, features)


@each_request
def test_a_session_and_none_are_told_apart_by_the_flag(request_: DataRequest) -> None:
    raw, room = joined(data_request(request_, EVERY_FEATURE))
    assert field_at(raw, 16) == (0 if request_.parameters else 1)
    assert refused(with_field(raw, 16, 1 - field_at(raw, 16)), room, EVERY_FEATURE) in {
        Status.ERR,
        Status.NOTSUPP,
    }


def test_the_flag_means_nothing_without_revision_1() -> None:
    raw, room = joined(data_request(GOLDEN[1][0], PADDED))
    assert field_at(raw, 16) == 0
    assert parse_data_request(with_field(raw, 16, 1), room, PADDED, CONFIG) == GOLDEN[1][0]


def test_stateless_parameters_are_checked() -> None:
    cipher = GOLDEN[6][0]
    raw, room = joined(data_request(cipher, EVERY_FEATURE))
    assert refused(with_field(raw, 0, DataOpcode.CIPHER_DECRYPT), room, EVERY_FEATURE) == Status.ERR
    assert refused(with_field(raw, 24, 99), room, EVERY_FEATURE) == Status.NOTSUPP
    short_keys = CONFIG._replace(max_cipher_key_len=63)
    assert refused(raw, room, EVERY_FEATURE, short_keys) == Status.ERR


RAW_RSA = AkcipherParameters(RsaScheme(RsaPadding.RAW), KeyType.PUBLIC, b"k")


@pytest.mark.parametrize(
    "request_",
    [
        DataRequest(DataOpcode.HASH, iv=b"iv", result_len=20),
        DataRequest(DataOpcode.MAC, aad=b"aad", result_len=20),
        DataRequest(DataOpcode.CIPHER_ENCRYPT, aad=b"aad"),
        DataRequest(DataOpcode.AKCIPHER_SIGN, signed=b"digest", result_len=8),
        DataRequest(DataOpcode.AKCIPHER_VERIFY, signed=b"digest", result_len=8),
        DataRequest(DataOpcode.HASH, parameters=RAW_RSA),
        DataRequest(DataOpcode.AKCIPHER_VERIFY, parameters=RAW_RSA),
        replace(GOLDEN[6][0], opcode=DataOpcode.CIPHER_DECRYPT),
        replace(GOLDEN[7][0], result_len=31),
        replace(GOLDEN[9][0], result_len=5),
    ],
    ids=golden_id,
)
def test_what_a_driver_must_not_ask(request_: DataRequest) -> None:
    with pytest.raises(LocalProtocolError):
        data_request(request_, EVERY_FEATURE)


def test_parts_are_views_of_the_request() -> None:
    raw, room = joined(data_request(GOLDEN[3][0], REVISION_1))
    parsed = parse_data_request(memoryview(bytearray(raw)), room, REVISION_1, CONFIG)
    for part in (parsed.src, parsed.iv, parsed.aad):
        assert isinstance(part, memoryview)


def test_empty_parts_have_no_buffer() -> None:
    request = DataRequest(DataOpcode.HASH, 1, src=b"", result_len=20)
    assert len(data_request(request, PADDED).readable) == 1
    assert data_request(DataRequest(DataOpcode.CIPHER_ENCRYPT), PADDED).writable == (1,)
