# SPDX-License-Identifier: BSD-3-Clause
"""Requests on virtio-crypto's data queues (virtio 1.2 §5.9.7.3 to §5.9.7.8).

A data request is a 24-byte header, a fixed part, the parts of variable length that the device
reads, and room for the result and a status byte, which is the last of the device-writable bytes.
Either the header names a session, or, in stateless mode, the request brings a session's parameters
itself: their fields in the fixed part and the key before all other parts. Without REVISION_1 there
are only sessions, and every fixed part is padded to 48 bytes, which is what Linux sends.

``data_request`` is for the driver, ``parse_data_request`` for the device: what goes into the one
comes out of the other. Nothing is believed: the lengths in a request have to add up to exactly what
is there, on both sides.

Where the sources differ:

- §5.9.7.3 has the stateless fixed part wherever that mode is negotiated; §5.9.7.4 and on give each
  mode a structure of its own. We follow the latter: the request's mode decides.
- Linux's AEAD structure ends before ``tag_len``, so 0 stands there. With a session, 0 means the
  session's.
- §5.9.7.7 wants room for a nonce of 16 bytes whatever its length, and CCM's to begin with its
  second byte, yet draws ``iv[iv_len]``. We follow the drawing: a nonce is all of its bytes.
- The specification marks the stateless ``op_type`` device-writable. It is read, as its twin.
- The header's ``algo`` means nothing: Linux sets it for AKCIPHER alone.
- Additional data follows the source data (§5.9.7.7), except in chaining, which is not offered.
- AKCIPHER_VERIFY has no result, and Linux sends signature and digest as one buffer. The reference
  target takes the third buffer, whichever that is, for the status: with the digest in one of its
  own every signature would verify.

A result of AKCIPHER may be shorter than its room, and the driver learns its length from the bytes
written; so the status byte is a buffer of its own.
"""

from __future__ import annotations

from vof.errors import LocalProtocolError
from vof.wire.crypto import (
    FLAG_SESSION_MODE,
    STATELESS_MODE,
    BadRequest,
    Config,
    DataOpcode,
    Feature,
    Service,
    Status,
    SymOperation,
    service_of,
)
from vof.wire.crypto_operations import DataRequest, check_cipher_lengths, check_request
from vof.wire.crypto_parameters import (
    AeadParameters,
    Parameters,
    check_operation_type,
    checked_parameters,
    fixed_part,
    key_length,
    parameter_fields,
    read_fixed_part,
)
from vof.wire.crypto_sessions import WireRequest
from vof.wire.layout import Layout, record
from vof.wire.structs import Buffer

DATA_HEADER = record("IIQII", 24, opcode=0, algo=4, session_id=8, flag=16, padding=20)
"""§5.9.7.3 struct virtio_crypto_op_header."""

PADDED_DATA_SIZE = 48
"""Bytes of every fixed part without REVISION_1: VIRTIO_CRYPTO_DATAQ_OP_SPEC_HDR_LEGACY."""

STATUS_SIZE = 1
"""§5.9.7.3 struct virtio_crypto_inhdr, after the result."""

SESSION_MODE_LAYOUTS: dict[Service, Layout] = {
    Service.CIPHER: record(
        "IIII24sII",
        48,
        iv_len=0,
        src_data_len=4,
        dst_data_len=8,
        padding=12,
        unused=16,
        op_type=40,
        reserved=44,
    ),
    Service.HASH: record("II", 8, src_data_len=0, hash_result_len=4),
    Service.MAC: record("II", 8, src_data_len=0, hash_result_len=4),
    Service.AEAD: record(
        "IIIIII",
        24,
        iv_len=0,
        aad_len=4,
        src_data_len=8,
        dst_data_len=12,
        tag_len=16,
        reserved=20,
    ),
    Service.AKCIPHER: record("II", 8, src_data_len=0, dst_data_len=4),
}
"""§5.9.7.4 to §5.9.7.8: fixed parts of requests in a session, before any padding. That of CIPHER
is struct virtio_crypto_sym_data_flf around the cipher's own."""

STATELESS_LAYOUTS: dict[Service, Layout] = {
    Service.CIPHER: record(
        "IIIIII48sI",
        76,
        algo=0,
        key_len=4,
        op=8,
        iv_len=12,
        src_data_len=16,
        dst_data_len=20,
        unused=24,
        op_type=72,
    ),
    Service.HASH: record("IIII", 16, algo=0, src_data_len=4, hash_result_len=8, reserved=12),
    Service.MAC: record("IIII", 16, algo=0, auth_key_len=4, src_data_len=8, hash_result_len=12),
    Service.AEAD: record(
        "IIIIIIII",
        32,
        algo=0,
        key_len=4,
        op=8,
        iv_len=12,
        tag_len=16,
        aad_len=20,
        src_data_len=24,
        dst_data_len=28,
    ),
    Service.AKCIPHER: record(
        "IIIIIII",
        28,
        algo=0,
        key_type=4,
        key_len=8,
        padding_algo=12,
        hash_algo=16,
        src_data_len=20,
        dst_data_len=24,
    ),
}
"""The same in stateless mode. Its parameters have the names of a session's."""

_LENGTH_FIELDS = {"iv": "iv_len", "src": "src_data_len", "aad": "aad_len", "signed": "dst_data_len"}


def data_request(request: DataRequest, features: int) -> WireRequest:
    """Return the request as it goes into a data queue; for the driver.

    ``features`` are the negotiated ones. Raises LocalProtocolError for a stateless request that
    they do not allow, and for parts or parameters that its service does not have.
    """
    service, parameters, parts = request.service, request.parameters, request.parts
    given = {name for name in _LENGTH_FIELDS if len(getattr(request, name))}
    if not given <= parts.keys() or (parameters and parameters.service != service):
        raise LocalProtocolError(f"{request.opcode.name} cannot carry what it was given")
    fields = {_LENGTH_FIELDS[name]: len(part) for name, part in parts.items()}
    if "signed" not in parts:
        fields["dst_data_len"] = fields["hash_result_len"] = request.result_len
    elif request.result_len:
        raise LocalProtocolError("AKCIPHER_VERIFY has no result")
    fields["tag_len"] = request.tag_len
    fields["op_type"] = SymOperation.CIPHER
    key: Buffer = b""
    if parameters:
        if not _may_be_stateless(service, features):
            raise LocalProtocolError(f"{service.name} requests without a session are not agreed on")
        _check_stateless(request, parameters)
        layout, flag, padded_size = STATELESS_LAYOUTS[service], 0, 0
        key = parameters.key
        fields = parameter_fields(parameters) | fields | {"tag_len": _tag_len(parameters)}
    else:
        layout, flag, padded_size = SESSION_MODE_LAYOUTS[service], FLAG_SESSION_MODE, 0
        if not features & Feature.REVISION_1:
            flag, padded_size = 0, PADDED_DATA_SIZE
    session_id = 0 if parameters else request.session_id
    header = DATA_HEADER.pack(request.opcode, request.algo, session_id, flag, 0)
    head = header + fixed_part(layout, fields, padded_size)
    data: tuple[Buffer, ...] = tuple(parts.values())
    if "signed" in parts:
        data = (b"".join(data),)
    readable = (head, *(part for part in (key, *data) if len(part)))
    writable = (request.result_len,) if request.result_len else ()
    return WireRequest(readable, (*writable, STATUS_SIZE))


def _tag_len(parameters: Parameters) -> int:
    return parameters.tag_len if isinstance(parameters, AeadParameters) else 0


def _check_stateless(request: DataRequest, parameters: Parameters) -> None:
    try:
        check_request(request, parameters)
    except BadRequest as error:
        raise LocalProtocolError(f"{request.opcode.name}: {error}") from error


def _may_be_stateless(service: Service, features: int) -> bool:
    needed = Feature.REVISION_1 | STATELESS_MODE[service]
    return features & needed == needed


def parse_data_request(
    readable: Buffer, writable: int, features: int, config: Config
) -> DataRequest:
    """Return the operation that a data request asks for, once every length in it proved true.

    ``readable`` is all of its device-readable bytes, of which the parts of the result are views;
    ``writable`` counts its device-writable ones: the result's room and the status byte. ``config``
    is what the device says of itself. Raises BadRequest.

    A request that names a session has then to pass ``check_request``; a stateless one has done so.
    """
    if len(readable) < DATA_HEADER.size:
        raise BadRequest(Status.ERR, f"{len(readable)} bytes are too few for a data header")
    number, algo, session_id, flag, _padding = DATA_HEADER.unpack_from(readable)
    try:
        opcode = DataOpcode(number)
    except ValueError:
        raise BadRequest(Status.NOTSUPP, f"opcode {number:#x} is no data request") from None
    service = service_of(opcode)
    if not config.crypto_services >> service & 1:
        raise BadRequest(Status.NOTSUPP, f"the service {service.name} is not offered")
    padded_size = 0 if features & Feature.REVISION_1 else PADDED_DATA_SIZE
    stateless = not padded_size and not flag & FLAG_SESSION_MODE
    if stateless and not _may_be_stateless(service, features):
        raise BadRequest(Status.NOTSUPP, f"{service.name} requests want a session")
    layout = (STATELESS_LAYOUTS if stateless else SESSION_MODE_LAYOUTS)[service]
    fields, place = read_fixed_part(layout, readable, DATA_HEADER.size, padded_size)
    check_operation_type(fields)

    key_end = place + (key_length(fields) if stateless else 0)
    ends = [key_end]
    names = DataRequest(opcode).parts.keys()
    for name in names:
        ends.append(ends[-1] + fields[_LENGTH_FIELDS[name]])
    if ends[-1] != len(readable):
        raise BadRequest(
            Status.ERR, f"lengths add up to {ends[-1]} bytes, {len(readable)} are there"
        )
    result_len = 0
    if "signed" not in names:
        result_len = fields.get("dst_data_len", fields.get("hash_result_len", 0))
    if writable != result_len + STATUS_SIZE:
        raise BadRequest(
            Status.ERR,
            f"a result of {result_len} bytes is wanted, with room for {writable} and no other",
        )
    size = ends[-1] - place + result_len
    if config.max_size and size > config.max_size:
        raise BadRequest(Status.ERR, f"{size} bytes; at most {config.max_size} are taken")

    view = memoryview(readable)
    parts = {name: view[ends[i] : ends[i + 1]] for i, name in enumerate(names)}
    parameters = None
    if stateless:
        # The request's own additional data is all that it can have.
        said = fields | {"aad_len": 0}
        parameters = checked_parameters(service, said, view[place:key_end], config)
    request = DataRequest(
        opcode,
        session_id=0 if stateless else session_id,
        parameters=parameters,
        src=parts["src"],
        result_len=result_len,
        iv=parts.get("iv", b""),
        aad=parts.get("aad", b""),
        signed=parts.get("signed", b""),
        tag_len=0 if stateless else fields.get("tag_len", 0),
        algo=algo,
    )
    if service is Service.CIPHER:
        check_cipher_lengths(request)
    if parameters:
        check_request(request, parameters)
    return request
