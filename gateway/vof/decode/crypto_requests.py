# SPDX-License-Identifier: BSD-3-Clause
"""Reads a virtio-crypto's requests and answers (virtio 1.2 §5.9.7), and says where keys are.

Control and data requests have no opcode in common, so that the queue need not be known. Fields are
told by the specification's names, the parts of variable length by their lengths alone.

Which of two layouts a data request has hangs on the features: where they are not known, one that
does not say that it names a session is told by its header only, and all behind it may be a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from vof.decode.fields import numbers_in
from vof.decode.message import UNKNOWN, Bytes, Named, Value, named
from vof.wire.crypto import (
    ALGORITHMS,
    CREATE_SESSION,
    FLAG_SESSION_MODE,
    AkcipherAlgorithm,
    ControlOpcode,
    Curve,
    DataOpcode,
    Direction,
    Feature,
    KeyType,
    RsaHash,
    RsaPadding,
    Service,
    Status,
    SymOperation,
    service_of,
)
from vof.wire.crypto_parameters import key_length
from vof.wire.crypto_requests import DATA_HEADER, SESSION_MODE_LAYOUTS, STATELESS_LAYOUTS
from vof.wire.crypto_sessions import (
    CONTROL_HEADER,
    DESTROY_ANSWER_SIZE,
    DESTROY_LAYOUT,
    SESSION_ANSWER,
    SESSION_LAYOUTS,
)
from vof.wire.layout import Layout

_ENUMS: dict[str, type[IntEnum]] = {
    "op": Direction,
    "op_type": SymOperation,
    "key_type": KeyType,
    "padding_algo": RsaPadding,
    "hash_algo": RsaHash,
}

_CREATE = frozenset(CREATE_SESSION.values())

Description = dict[str, Value]


def describe_request(features: int | None, readable: Bytes) -> Description:
    """Return what a request asks for, as far as its first device-readable bytes say it."""
    found: Description = {"device": "crypto"}
    operation = _operation(readable)
    if operation is None:
        return found
    found["type"] = Named(operation, operation.name)
    if isinstance(operation, ControlOpcode):
        start = CONTROL_HEADER.size
        layout = _control_layout(operation)
    else:
        if not readable.has(0, DATA_HEADER.size):
            return found
        start = DATA_HEADER.size
        mode = _mode(features, readable)
        if mode is not SESSION_MODE_LAYOUTS:
            found["stateless"] = "yes" if mode else UNKNOWN
        else:
            found["session_id"] = numbers_in(DATA_HEADER, readable.data)["session_id"]
        if mode is None:
            return found
        layout = mode[service_of(operation)]
    if readable.has(start, start + layout.size):
        numbers = numbers_in(layout, readable.data, start)
        found |= _parameters(service_of(operation), numbers)
    return found


def describe_answer(request: Mapping[str, Value], area: Bytes, size: int) -> Description:
    """Return how a described request ended; ``area`` has the first of ``size`` bytes."""
    operation = request.get("type")
    if not isinstance(operation, Named):
        return {}
    if operation.value in _CREATE:
        if not area.has(0, SESSION_ANSWER.size):
            return {}
        answer = numbers_in(SESSION_ANSWER, area.data)
        found: Description = {"status": named(Status, answer["status"])}
        return found if answer["status"] else found | {"session_id": answer["session_id"]}
    if not area.has(size - DESTROY_ANSWER_SIZE, size):
        return {}
    return {"status": named(Status, area.data[size - 1])} if size else {}


def secret_places(features: int | None, readable: Bytes) -> tuple[range, ...]:
    """Return where the device-readable bytes of a request may hold a key."""
    end = len(readable.data)
    start = 0
    operation = _operation(readable)
    if isinstance(operation, ControlOpcode):
        if operation not in _CREATE:
            return ()
        # A fixed part may be padded; the key is somewhere behind the fields.
        start = CONTROL_HEADER.size + _control_layout(operation).size
    elif operation is not None and readable.has(0, DATA_HEADER.size):
        start = DATA_HEADER.size
        mode = _mode(features, readable)
        if mode is SESSION_MODE_LAYOUTS:
            return ()
        if mode is not None:
            layout = mode[service_of(operation)]
            start += layout.size
            if readable.has(DATA_HEADER.size, start):
                size = key_length(numbers_in(layout, readable.data, DATA_HEADER.size))
                end = min(end, start + size)
    return (range(start, end),) if start < end else ()


def _operation(readable: Bytes) -> ControlOpcode | DataOpcode | None:
    """Return what a request is; None where that cannot be said."""
    if not readable.has(0, CONTROL_HEADER.size):
        return None
    number = numbers_in(CONTROL_HEADER, readable.data)["opcode"]
    for kind in (ControlOpcode, DataOpcode):
        if number in set(kind):
            return kind(number)
    return None


def _mode(features: int | None, readable: Bytes) -> dict[Service, Layout] | None:
    """Return the layouts of a data request's mode; None where that cannot be said."""
    if numbers_in(DATA_HEADER, readable.data)["flag"] & FLAG_SESSION_MODE:
        return SESSION_MODE_LAYOUTS
    if features is None:
        return None
    return STATELESS_LAYOUTS if features & Feature.REVISION_1 else SESSION_MODE_LAYOUTS


def _control_layout(operation: ControlOpcode) -> Layout:
    return SESSION_LAYOUTS[service_of(operation)] if operation in _CREATE else DESTROY_LAYOUT


def _parameters(service: Service, numbers: Mapping[str, int]) -> Description:
    """Return fields with the names of what they are numbers of."""
    kind = numbers.get("op_type", SymOperation.CIPHER)
    if kind != SymOperation.CIPHER:  # the other fields are another operation's
        return {"op_type": named(SymOperation, kind)}
    found: Description = {}
    ecdsa = service is Service.AKCIPHER and numbers.get("algo") == AkcipherAlgorithm.ECDSA
    for name, value in numbers.items():
        if name == "algo":
            found[name] = named(ALGORITHMS[service], value)
        elif name == "padding_algo" and ecdsa:
            found["curve_id"] = named(Curve, value)
        elif name in _ENUMS:
            found[name] = named(_ENUMS[name], value)
        else:
            found[name] = value
    return found
