# SPDX-License-Identifier: BSD-3-Clause
"""Requests on virtio-crypto's control queue (virtio 1.2 §5.9.7.2): sessions made and destroyed.

A control request is a 16-byte header, a fixed part, the key if the service has one, and room for
the answer. Without REVISION_1 every fixed part is padded to 56 bytes, which is what Linux sends;
with it, it is as long as its structure.

Builders are for the driver, ``parse_control_request`` is for the device; both use the same
records. Nothing is believed: each length in a request is compared with what is there.

Where the sources differ:

- The header's ``algo`` and that of the parameters should agree. The parameters count, as in QEMU;
  Linux leaves the header's at 0 when it destroys a session.
- The header's last field is reserved; Linux calls it ``queue_id`` and sends 0. It is ignored.
- A session that cannot be destroyed is answered ERR (§5.9.7.2.1), not INVSESS.

Algorithm chaining is recognised and refused: this project does not offer it.
"""

from __future__ import annotations

from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.crypto import (
    CREATE_SESSION,
    DESTROY_SESSION,
    BadRequest,
    Config,
    ControlOpcode,
    Feature,
    Service,
    Status,
    SymOperation,
    service_of,
)
from vof.wire.crypto_parameters import (
    Parameters,
    check_operation_type,
    checked_parameters,
    fixed_part,
    key_length,
    parameter_fields,
    read_fixed_part,
)
from vof.wire.layout import Layout, record
from vof.wire.structs import Buffer

CONTROL_HEADER = record("IIII", 16, opcode=0, algo=4, flag=8, reserved=12)
"""§5.9.7.2 struct virtio_crypto_ctrl_header."""

PADDED_CONTROL_SIZE = 56
"""Bytes of every fixed part without REVISION_1: VIRTIO_CRYPTO_CTRLQ_OP_SPEC_HDR_LEGACY."""

SESSION_LAYOUTS: dict[Service, Layout] = {
    Service.CIPHER: record(
        "IIII32sII", 56, algo=0, key_len=4, op=8, padding=12, unused=16, op_type=48, reserved=52
    ),
    Service.HASH: record("II", 8, algo=0, hash_result_len=4),
    Service.MAC: record("IIII", 16, algo=0, hash_result_len=4, auth_key_len=8, padding=12),
    Service.AEAD: record("IIIIII", 24, algo=0, key_len=4, tag_len=8, aad_len=12, op=16, padding=20),
    Service.AKCIPHER: record(
        "IIIII36s", 56, algo=0, key_type=4, key_len=8, padding_algo=12, hash_algo=16, unused=20
    ),
}
"""§5.9.7.2.1: the fixed part of each create-session request, before any padding.

That of CIPHER is struct virtio_crypto_sym_create_session_flf around the cipher's own. That of
AKCIPHER is drawn for RSA; ``curve_id`` of ECDSA stands in the place of ``padding_algo``.
"""

DESTROY_LAYOUT = record("Q", 8, session_id=0)
"""§5.9.7.2.1 struct virtio_crypto_destroy_session_flf."""

SESSION_ANSWER = record("QII", 16, session_id=0, status=8, padding=12)
"""§5.9.7.2.1 struct virtio_crypto_create_session_input, device-writable."""

DESTROY_ANSWER_SIZE = 1
"""§5.9.7.2.1 struct virtio_crypto_destroy_session_input: the status byte."""


class CreateSession(NamedTuple):
    """A control request that asks for a session."""

    parameters: Parameters


class DestroySession(NamedTuple):
    """A control request that ends a session."""

    service: Service
    session_id: int


class WireRequest(NamedTuple):
    """A request as it goes into a queue. No buffer is empty."""

    readable: tuple[Buffer, ...]
    """The device-readable buffers, in order; the first holds header and fixed part."""
    writable: tuple[int, ...]
    """The lengths of the device-writable buffers, in order."""


class SessionAnswer(NamedTuple):
    """A device's answer to a create-session request."""

    session_id: int
    """Means something only with Status.OK."""
    status: int
    """A ``Status``, unless the device is of a later specification."""


def create_session_request(parameters: Parameters, features: int) -> WireRequest:
    """Return the request for a session; its answer is for ``read_session_answer``.

    ``features`` are the negotiated ones.
    """
    service = parameters.service
    header = CONTROL_HEADER.pack(CREATE_SESSION[service], parameters.algo, 0, 0)
    fields = parameter_fields(parameters) | {"op_type": SymOperation.CIPHER}
    fixed = fixed_part(SESSION_LAYOUTS[service], fields, _padded_size(features))
    key = (parameters.key,) if len(parameters.key) else ()
    return WireRequest((header + fixed, *key), (SESSION_ANSWER.size,))


def destroy_session_request(service: Service, session_id: int, features: int) -> WireRequest:
    """Return the request that ends a session; its answer is a ``Status`` byte."""
    header = CONTROL_HEADER.pack(DESTROY_SESSION[service], 0, 0, 0)
    fixed = fixed_part(DESTROY_LAYOUT, {"session_id": session_id}, _padded_size(features))
    return WireRequest((header + fixed,), (DESTROY_ANSWER_SIZE,))


def _padded_size(features: int) -> int:
    return 0 if features & Feature.REVISION_1 else PADDED_CONTROL_SIZE


def read_session_answer(answer: Buffer) -> SessionAnswer:
    """Return what the device wrote. Raises RemoteProtocolError where it wrote too little."""
    if len(answer) < SESSION_ANSWER.size:
        raise RemoteProtocolError(
            f"a session was answered with {len(answer)} bytes instead of {SESSION_ANSWER.size}"
        )
    session_id, status, _padding = SESSION_ANSWER.unpack_from(answer)
    return SessionAnswer(session_id, status)


def session_answer(session_id: int) -> bytes:
    """Return the device's answer to a create-session request that succeeded."""
    return SESSION_ANSWER.pack(session_id, Status.OK, 0)


def control_refusal(status: Status, writable: int) -> bytes:
    """Return an answer to a control request that failed, ``writable`` bytes long.

    Also for one that could not be understood: what fits is taken for what was asked for.
    """
    if writable < SESSION_ANSWER.size:
        return bytes((status,)).ljust(writable, b"\0")[:writable]
    return SESSION_ANSWER.pack(0, status, 0).ljust(writable, b"\0")


def parse_control_request(
    readable: Buffer, writable: int, features: int, config: Config
) -> CreateSession | DestroySession:
    """Return what a control request asks for, once everything in it has proved to be true.

    ``readable`` is all of its device-readable bytes, of which the key in the result is a view;
    ``writable`` counts its device-writable ones; ``config`` is what the device says of itself.
    Raises BadRequest.
    """
    if len(readable) < CONTROL_HEADER.size:
        raise BadRequest(Status.ERR, f"{len(readable)} bytes are too few for a control header")
    number, _algo, _flag, _reserved = CONTROL_HEADER.unpack_from(readable)
    try:
        opcode = ControlOpcode(number)
    except ValueError:
        raise BadRequest(Status.NOTSUPP, f"opcode {number:#x} is no control request") from None
    service = service_of(opcode)
    if not config.crypto_services >> service & 1:
        raise BadRequest(Status.NOTSUPP, f"the service {service.name} is not offered")
    creates = opcode == CREATE_SESSION[service]
    layout = SESSION_LAYOUTS[service] if creates else DESTROY_LAYOUT
    fields, place = read_fixed_part(layout, readable, CONTROL_HEADER.size, _padded_size(features))
    check_operation_type(fields)
    need = SESSION_ANSWER.size if creates else DESTROY_ANSWER_SIZE
    if writable != need:
        raise BadRequest(Status.ERR, f"there is room for {writable} bytes of answer, not {need}")
    key_size = key_length(fields) if creates else 0
    if place + key_size != len(readable):
        raise BadRequest(
            Status.ERR, f"a key of {key_size} bytes is said, {len(readable) - place} are there"
        )
    if not creates:
        return DestroySession(service, fields["session_id"])
    return CreateSession(checked_parameters(service, fields, memoryview(readable)[place:], config))
