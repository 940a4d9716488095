# SPDX-License-Identifier: BSD-3-Clause
"""What our driver asks of a virtio-crypto is told with its parameters, and where its key is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.crypto_samples import EVERY_FEATURE, PADDED, joined, operations, parameters
from vof.decode.crypto_requests import describe_answer, describe_request, secret_places
from vof.decode.message import Bytes, Named, Value
from vof.wire.crypto import (
    CREATE_SESSION,
    DESTROY_SESSION,
    CipherAlgorithm,
    Direction,
    Feature,
    Service,
    Status,
)
from vof.wire.crypto_parameters import CipherParameters, Parameters, parameter_fields
from vof.wire.crypto_requests import data_request
from vof.wire.crypto_sessions import (
    control_refusal,
    create_session_request,
    destroy_session_request,
    session_answer,
)

SERVICES = pytest.mark.parametrize("service", Service)
FEATURES = pytest.mark.parametrize(
    "features", [PADDED, EVERY_FEATURE], ids=["padded", "revision 1"]
)


def places(parts: tuple[range, ...]) -> set[int]:
    return {place for part in parts for place in part}


def answered(asked: Mapping[str, Value], area: Bytes) -> Mapping[str, Value]:
    return describe_answer(asked, area, len(area.data))


def numbers(described: object) -> dict[str, int]:
    """Return the numbers in a description."""
    assert isinstance(described, dict)
    return {
        name: value.value if isinstance(value, Named) else value
        for name, value in described.items()
        if isinstance(value, (int, Named))
    }


@SERVICES
@FEATURES
@given(data=st.data())
def test_a_session(service: Service, features: Feature, data: st.DataObject) -> None:
    chosen = data.draw(parameters(service))
    request = create_session_request(chosen, features)
    readable, _writable = joined(request)
    found = describe_request(features, Bytes(readable))
    assert found["type"] == Named(CREATE_SESSION[service], f"{service.name}_CREATE_SESSION")
    told = numbers(found)
    for name, value in parameter_fields(chosen).items():
        curve = name == "padding_algo" and "curve_id" in told
        assert told.get("curve_id" if curve else name, 0) == value
    key = set(range(len(request.readable[0]), len(readable)))
    for known in (features, None):
        assert places(secret_places(known, Bytes(readable))) >= key


@SERVICES
@FEATURES
def test_the_end_of_a_session(service: Service, features: Feature) -> None:
    readable, _writable = joined(destroy_session_request(service, 5, features))
    found = describe_request(features, Bytes(readable))
    assert found == {
        "device": "crypto",
        "type": Named(DESTROY_SESSION[service], f"{service.name}_DESTROY_SESSION"),
        "session_id": 5,
    }
    assert secret_places(features, Bytes(readable)) == ()
    assert answered(found, Bytes(b"\0")) == {"status": Named(0, "OK")}


@SERVICES
@FEATURES
@given(data=st.data())
def test_an_operation_in_a_session(
    service: Service, features: Feature, data: st.DataObject
) -> None:
    _parameters, operation = data.draw(operations(service))
    readable, writable = joined(data_request(operation, features))
    found = describe_request(features, Bytes(readable))
    assert found["type"] == Named(operation.opcode, operation.opcode.name)
    told = numbers(found)
    assert told["session_id"] == operation.session_id
    assert told["src_data_len"] == len(operation.src)
    assert told.get("iv_len", 0) == len(operation.iv)
    assert "stateless" not in found
    assert secret_places(features, Bytes(readable)) == ()
    answer = bytes(writable - 1) + bytes([Status.INVSESS])
    assert answered(found, Bytes(answer)) == {"status": Named(4, "INVSESS")}


@SERVICES
@given(data=st.data())
def test_an_operation_without_a_session(service: Service, data: st.DataObject) -> None:
    chosen, operation = data.draw(operations(service))
    operation = dataclasses.replace(operation, parameters=chosen, session_id=0, tag_len=0)
    request = data_request(operation, EVERY_FEATURE)
    readable, _writable = joined(request)
    found = describe_request(EVERY_FEATURE, Bytes(readable))
    assert found["stateless"] == "yes"
    assert numbers(found)["algo"] == chosen.algo
    start = len(request.readable[0])
    key = set(range(start, start + len(chosen.key)))
    assert places(secret_places(EVERY_FEATURE, Bytes(readable))) == key
    # What is not known for certain is kept back, and said to be so.
    unknown = describe_request(None, Bytes(readable))
    assert unknown["stateless"] == "unknown"
    assert "algo" not in unknown
    assert places(secret_places(None, Bytes(readable))) >= key


@SERVICES
@given(data=st.data())
def test_a_beginning_tells_no_more_than_it_has(service: Service, data: st.DataObject) -> None:
    chosen: Parameters = data.draw(parameters(service))
    request = create_session_request(chosen, PADDED)
    readable, _writable = joined(request)
    end = data.draw(st.integers(0, len(readable)))
    beginning = Bytes(readable[:end])
    found = describe_request(PADDED, beginning)
    assert found.items() <= describe_request(PADDED, Bytes(readable)).items()
    key = set(range(len(request.readable[0]), end))
    assert places(secret_places(PADDED, beginning)) >= key


def test_answers_to_a_session() -> None:
    asked = {"type": Named(CREATE_SESSION[Service.MAC], "")}
    assert answered(asked, Bytes(session_answer(9))) == {
        "status": Named(0, "OK"), "session_id": 9,
    }  # fmt: skip
    refused = control_refusal(Status.NOSPC, 16)
    assert answered(asked, Bytes(refused)) == {"status": Named(5, "NOSPC")}
    assert answered(asked, Bytes(refused[:15])) == {}
    assert answered({}, Bytes(refused)) == {}
    operation = {"type": Named(0, "CIPHER_ENCRYPT")}
    assert answered(operation, Bytes(b"")) == {}
    assert answered(operation, Bytes(bytes(2), (range(1, 2),))) == {}


def test_an_unknown_operation() -> None:
    readable = Bytes(b"\xff" * 100)
    assert describe_request(PADDED, readable) == {"device": "crypto"}
    assert secret_places(PADDED, readable) == (range(100),)


def test_chained_algorithms_are_named_and_not_read() -> None:
    cipher = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, b"")
    head = bytes(create_session_request(cipher, PADDED).readable[0])
    chained = head[:64] + b"\2" + head[65:] + b"a key"
    found = describe_request(PADDED, Bytes(chained))
    assert found["op_type"] == Named(2, "ALGORITHM_CHAINING")
    assert "algo" not in found
    assert places(secret_places(PADDED, Bytes(chained))) == set(range(72, 77))
