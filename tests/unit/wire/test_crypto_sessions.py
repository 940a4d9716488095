# SPDX-License-Identifier: BSD-3-Clause
"""Control requests of virtio-crypto: golden bytes, round trips, and lies about lengths."""

from __future__ import annotations

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
    parameters,
    with_field,
)
from vof.errors import RemoteProtocolError
from vof.wire.crypto import (
    AeadAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Curve,
    DataOpcode,
    Direction,
    Feature,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
    Status,
)
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
from vof.wire.crypto_sessions import (
    CONTROL_HEADER,
    DESTROY_ANSWER_SIZE,
    SESSION_ANSWER,
    SESSION_LAYOUTS,
    CreateSession,
    DestroySession,
    SessionAnswer,
    WireRequest,
    control_refusal,
    create_session_request,
    destroy_session_request,
    parse_control_request,
    read_session_answer,
    session_answer,
)

REVISION_1 = Feature.REVISION_1
FORMS = pytest.mark.parametrize("features", [PADDED, REVISION_1, EVERY_FEATURE], ids=int)

GOLDEN: list[tuple[Parameters, str, str]] = [
    # parameters, header, fixed part without padding
    (
        CipherParameters(CipherAlgorithm.AES_CBC, Direction.DECRYPT, b"0123456789abcdef"),
        "02 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00",
        "03 00 00 00  10 00 00 00  02 00 00 00  00 00 00 00"
        + 32 * "00"
        + "01 00 00 00 00 00 00 00",
    ),
    (
        HashParameters(HashAlgorithm.SHA_256, 32),
        "02 01 00 00  04 00 00 00  00 00 00 00  00 00 00 00",
        "04 00 00 00  20 00 00 00",
    ),
    (
        MacParameters(MacAlgorithm.CMAC_AES, 16, b"0123456789abcdef"),
        "02 02 00 00  1a 00 00 00  00 00 00 00  00 00 00 00",
        "1a 00 00 00  10 00 00 00  10 00 00 00  00 00 00 00",
    ),
    (
        AeadParameters(AeadAlgorithm.GCM, Direction.ENCRYPT, bytes(32), tag_len=12, aad_len=5),
        "02 03 00 00  01 00 00 00  00 00 00 00  00 00 00 00",
        "01 00 00 00  20 00 00 00  0c 00 00 00  05 00 00 00  01 00 00 00  00 00 00 00",
    ),
    (
        AkcipherParameters(
            RsaScheme(RsaPadding.PKCS1, RsaHash.SHA256), KeyType.PRIVATE, bytes(258)
        ),
        "04 04 00 00  01 00 00 00  00 00 00 00  00 00 00 00",
        "01 00 00 00  02 00 00 00  02 01 00 00  01 00 00 00  06 00 00 00" + 36 * "00",
    ),
    (
        AkcipherParameters(EcdsaScheme(Curve.NIST_P256), KeyType.PUBLIC, b"\4" + bytes(64)),
        "04 04 00 00  02 00 00 00  00 00 00 00  00 00 00 00",
        "02 00 00 00  01 00 00 00  41 00 00 00  03 00 00 00" + 40 * "00",
    ),
]


@pytest.mark.parametrize(("chosen", "header", "fixed"), GOLDEN, ids=lambda v: type(v).__name__)
def test_create_session_golden_bytes(chosen: Parameters, header: str, fixed: str) -> None:
    bare = bytes.fromhex(header) + bytes.fromhex(fixed)
    padded = bare + bytes(72 - len(bare))
    key = (chosen.key,) if chosen.key else ()
    for features, head in ((REVISION_1, bare), (PADDED, padded)):
        request = create_session_request(chosen, features)
        assert request == WireRequest((head, *key), (16,))
        assert parse_control_request(*joined(request), features, CONFIG) == CreateSession(chosen)


def test_sizes_of_fixed_parts() -> None:
    assert CONTROL_HEADER.size == 16
    assert {service.name: layout.size for service, layout in SESSION_LAYOUTS.items()} == {
        "CIPHER": 56,
        "HASH": 8,
        "MAC": 16,
        "AEAD": 24,
        "AKCIPHER": 56,
    }


@pytest.mark.parametrize(
    ("service", "opcode"),
    [
        (Service.CIPHER, "03 00"),
        (Service.HASH, "03 01"),
        (Service.MAC, "03 02"),
        (Service.AEAD, "03 03"),
        (Service.AKCIPHER, "05 04"),
    ],
)
def test_destroy_session_golden_bytes(service: Service, opcode: str) -> None:
    bare = bytes.fromhex(opcode) + bytes(14) + bytes.fromhex("08 07 06 05 04 03 02 01")
    for features, head in ((REVISION_1, bare), (PADDED, bare + bytes(48))):
        request = destroy_session_request(service, 0x0102030405060708, features)
        assert request == WireRequest((head,), (1,))
        parsed = parse_control_request(*joined(request), features, CONFIG)
        assert parsed == DestroySession(service, 0x0102030405060708)


@given(st.sampled_from(Service).flatmap(parameters), st.sampled_from([PADDED, REVISION_1]))
def test_round_trip(chosen: Parameters, features: Feature) -> None:
    request = create_session_request(chosen, features)
    assert parse_control_request(*joined(request), features, CONFIG) == CreateSession(chosen)


@given(
    st.binary(max_size=100)
    | st.builds(
        bytes.__add__,
        st.sampled_from(
            [CONTROL_HEADER.pack(op, 0, 0, 0) for op in (2, 3, 0x102, 0x202, 0x302, 0x404, 0x405)]
        ),
        st.binary(max_size=100),
    ),
    st.integers(0, 20),
    st.sampled_from([PADDED, REVISION_1]),
)
def test_anything_is_parsed_or_refused(raw: bytes, writable: int, features: Feature) -> None:
    try:
        parsed = parse_control_request(raw, writable, features, CONFIG)
    except BadRequest:
        return
    assert writable == (16 if isinstance(parsed, CreateSession) else 1)


def refused(raw: bytes, room: int, features: Feature) -> Status:
    with pytest.raises(BadRequest) as caught:
        parse_control_request(raw, room, features, CONFIG)
    return caught.value.status


@FORMS
@pytest.mark.parametrize("chosen", [golden[0] for golden in GOLDEN], ids=lambda v: v.service.name)
def test_every_length_lied_about_is_refused(chosen: Parameters, features: Feature) -> None:
    raw, room = joined(create_session_request(chosen, features))
    for size in (0, 15, 16, 20, len(raw) - 1):
        assert refused(raw[:size], room, features) == Status.ERR
    assert refused(raw + b"\0", room, features) == Status.ERR
    for other in (0, 1, 15, 17, 1 << 32):
        assert refused(raw, other, features) == Status.ERR
    for name, field in SESSION_LAYOUTS[chosen.service].fields.items():
        if name in {"key_len", "auth_key_len"}:
            place = CONTROL_HEADER.size + field.offset
            true = field_at(raw, place)
            assert true == len(chosen.key)
            for lie in (0, true - 1, true + 1, *LIES):
                assert refused(with_field(raw, place, lie), room, features) == Status.ERR


@FORMS
def test_destroying_with_other_lengths_is_refused(features: Feature) -> None:
    raw, room = joined(destroy_session_request(Service.MAC, 7, features))
    assert refused(raw[:-1], room, features) == Status.ERR
    assert refused(raw + b"\0", room, features) == Status.ERR
    assert refused(raw, 0, features) == Status.ERR
    assert refused(raw, 16, features) == Status.ERR


def test_the_other_form_is_refused() -> None:
    """A driver that pads where it should not, or the reverse."""
    chosen = MacParameters(MacAlgorithm.HMAC_SHA1, 20, b"key")
    assert refused(*joined(create_session_request(chosen, PADDED)), REVISION_1) == Status.ERR
    assert refused(*joined(create_session_request(chosen, REVISION_1)), PADDED) == Status.ERR


@pytest.mark.parametrize("number", [*DataOpcode, 0x502, 0x104, 0xFFFFFFFF])
def test_what_is_no_control_request(number: int) -> None:
    raw = CONTROL_HEADER.pack(number, 0, 0, 0) + bytes(56)
    assert refused(raw, 16, PADDED) == Status.NOTSUPP


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_only_plain_ciphers(kind: int) -> None:
    raw, room = joined(create_session_request(GOLDEN[0][0], PADDED))
    assert refused(with_field(raw, 64, kind), room, PADDED) == Status.NOTSUPP


@FORMS
def test_a_chain_is_recognised(features: Feature) -> None:
    """Its lengths stand elsewhere, so they are not what it is refused for."""
    chain = "01 00 00 00  02 00 00 00" + "03 00 00 00  10 00 00 00  01 00 00 00  00 00 00 00"
    chain += "02 00 00 00  14 00 00 00  05 00 00 00  00 00 00 00" + "00 00 00 00  00 00 00 00"
    raw = CONTROL_HEADER.pack(2, 3, 0, 0) + bytes.fromhex(chain + "02 00 00 00  00 00 00 00")
    assert refused(raw + bytes(16 + 5), 16, features) == Status.NOTSUPP


def test_what_may_hold_anything() -> None:
    """The header's algorithm, flag and reserved field, padding and unused parts."""
    for chosen, _header, _fixed in GOLDEN:
        raw, room = joined(create_session_request(chosen, PADDED))
        noisy = raw[:4] + b"\xa5" * 12 + raw[16:]
        layout = SESSION_LAYOUTS[chosen.service]
        for name, field in layout.fields.items():
            if name in {"padding", "unused", "reserved"}:
                start = 16 + field.offset
                noisy = noisy[:start] + b"\xa5" * field.size + noisy[start + field.size :]
        noisy = noisy[: 16 + layout.size] + b"\xa5" * (56 - layout.size) + noisy[72:]
        assert len(noisy) == len(raw)
        assert parse_control_request(noisy, room, PADDED, CONFIG) == CreateSession(chosen)


def test_the_key_is_a_view_of_the_request() -> None:
    raw, room = joined(create_session_request(GOLDEN[0][0], PADDED))
    buffer = bytearray(raw)
    parsed = parse_control_request(buffer, room, PADDED, CONFIG)
    assert isinstance(parsed, CreateSession)
    assert isinstance(parsed.parameters.key, memoryview)
    buffer[-16:] = bytes(16)
    assert parsed.parameters.key == bytes(16)


def test_session_answers() -> None:
    golden = bytes.fromhex("08 07 06 05 04 03 02 01  00 00 00 00  00 00 00 00")
    assert session_answer(0x0102030405060708) == golden
    assert read_session_answer(golden) == SessionAnswer(0x0102030405060708, Status.OK)
    assert (SESSION_ANSWER.size, DESTROY_ANSWER_SIZE) == (16, 1)
    for short in (b"", golden[:15]):
        with pytest.raises(RemoteProtocolError, match="instead of 16"):
            read_session_answer(short)


@pytest.mark.parametrize(
    ("writable", "answer"),
    [
        (0, ""),
        (1, "05"),
        (3, "05 00 00"),
        (16, "00 00 00 00 00 00 00 00  05 00 00 00  00 00 00 00"),
        (18, "00 00 00 00 00 00 00 00  05 00 00 00  00 00 00 00  00 00"),
    ],
)
def test_refusals_fill_what_there_is(writable: int, answer: str) -> None:
    assert control_refusal(Status.NOSPC, writable) == bytes.fromhex(answer)
