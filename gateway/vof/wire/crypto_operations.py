# SPDX-License-Identifier: BSD-3-Clause
"""One operation of a virtio-crypto device (virtio 1.2 §5.9.7.4 to §5.9.7.8), however it travels.

Owns the record that driver and device agree on, and the check whether an operation fits the session
it names: unequal lengths are what CVE-2023-3180 was made of. Must not know the layout of a request
(``crypto_requests``), nor the rules of any algorithm: block and nonce lengths are for whoever
executes the operation to check.

No text says where the tag stands that AEAD_DECRYPT checks. Ours: at the end of the source data, as
encryption leaves it. The result may have more room than it needs (§5.9.7.7: "at least").

AKCIPHER_VERIFY has no result: it brings the signature and what that is over (virtio 1.3 §5.9.7.8,
and Linux).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vof.wire.crypto import (
    BadRequest,
    DataOpcode,
    Direction,
    KeyType,
    RsaPadding,
    Service,
    Status,
    service_of,
)
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    Parameters,
)
from vof.wire.structs import Buffer

READABLE_PARTS: dict[Service, tuple[str, ...]] = {
    Service.CIPHER: ("iv", "src"),
    Service.HASH: ("src",),
    Service.MAC: ("src",),
    Service.AEAD: ("iv", "src", "aad"),
    Service.AKCIPHER: ("src", "signed"),
}
"""What follows the fixed part, in this order, after the key in stateless mode. "signed" is only in
AKCIPHER_VERIFY."""

_DIRECTIONS = {
    DataOpcode.CIPHER_ENCRYPT: Direction.ENCRYPT,
    DataOpcode.CIPHER_DECRYPT: Direction.DECRYPT,
    DataOpcode.AEAD_ENCRYPT: Direction.ENCRYPT,
    DataOpcode.AEAD_DECRYPT: Direction.DECRYPT,
}


@dataclass(frozen=True, slots=True)
class DataRequest:
    """One operation. Parts that its service does not have are empty."""

    opcode: DataOpcode
    session_id: int = 0
    parameters: Parameters | None = None
    """In stateless mode, what a session would say; then ``session_id`` means nothing."""
    src: Buffer = field(default=b"", repr=False)
    """Source data; the signature in AKCIPHER_VERIFY; ciphertext and tag in AEAD_DECRYPT."""
    result_len: int = 0
    """Room for the result: ``dst_data_len`` or ``hash_result_len``."""
    iv: Buffer = field(default=b"", repr=False)
    """CIPHER: initialisation vector, counter or tweak. AEAD: nonce."""
    aad: Buffer = field(default=b"", repr=False)
    signed: Buffer = field(default=b"", repr=False)
    """What the signature is over, in AKCIPHER_VERIFY."""
    tag_len: int = 0
    """AEAD with a session: its tag's length, or 0."""
    algo: int = field(default=0, compare=False)
    """Of the header. Nothing depends on it."""

    @property
    def service(self) -> Service:
        """The service that the opcode belongs to."""
        return service_of(self.opcode)

    @property
    def variable_size(self) -> int:
        """Bytes of all variable-length parts, which ``max_size`` of the config space limits."""
        key = self.parameters.key if self.parameters else b""
        parts = (key, self.iv, self.src, self.aad, self.signed)
        return sum(map(len, parts)) + self.result_len

    @property
    def parts(self) -> dict[str, Buffer]:
        """The parts of its service by their names, in order."""
        return {
            name: getattr(self, name)
            for name in READABLE_PARTS[self.service]
            if name != "signed" or self.opcode == DataOpcode.AKCIPHER_VERIFY
        }


def check_cipher_lengths(request: DataRequest) -> None:
    """Raise BadRequest where source and result differ in length: no cipher there is does that."""
    if len(request.src) != request.result_len:
        raise BadRequest(
            Status.ERR, f"a cipher cannot make {request.result_len} bytes of {len(request.src)}"
        )


def check_request(request: DataRequest, parameters: Parameters) -> None:
    """Check a request against the parameters of its session; for the device. Raises BadRequest.

    INVSESS where the session is another service's. What depends on an algorithm's own rules (block
    and nonce lengths, say) is left to whoever knows it.
    """
    if parameters.service != request.service:
        raise BadRequest(
            Status.INVSESS, f"{request.opcode.name} in a session of {parameters.service.name}"
        )
    match parameters:
        case CipherParameters():
            _check_direction(request, parameters.direction)
            check_cipher_lengths(request)
        case HashParameters() | MacParameters():
            if request.result_len != parameters.result_len:
                raise BadRequest(
                    Status.ERR,
                    f"{request.result_len} bytes are wanted where the session has "
                    f"{parameters.result_len}",
                )
        case AeadParameters():
            _check_direction(request, parameters.direction)
            _check_aead_lengths(request, parameters)
        case AkcipherParameters():
            _check_akcipher(request.opcode, parameters)


def _check_direction(request: DataRequest, direction: Direction) -> None:
    if _DIRECTIONS[request.opcode] != direction:
        raise BadRequest(Status.ERR, f"{request.opcode.name} in a session to {direction.name}")


def _check_aead_lengths(request: DataRequest, parameters: AeadParameters) -> None:
    tag_len, aad_len = parameters.tag_len, len(request.aad)
    if request.tag_len not in {0, tag_len}:
        raise BadRequest(Status.ERR, f"a tag of {request.tag_len} bytes; the session has {tag_len}")
    if parameters.aad_len not in {0, aad_len}:
        raise BadRequest(
            Status.ERR,
            f"{aad_len} bytes of additional data; the session has {parameters.aad_len}",
        )
    source = len(request.src)
    if request.opcode == DataOpcode.AEAD_ENCRYPT:
        need = source + tag_len
    else:
        need = source - tag_len
    if need < 0 or request.result_len < need:
        raise BadRequest(
            Status.ERR,
            f"{request.opcode.name} of {source} bytes with a tag of {tag_len} into "
            f"{request.result_len}",
        )


def _check_akcipher(opcode: DataOpcode, parameters: AkcipherParameters) -> None:
    signs = opcode in {DataOpcode.AKCIPHER_SIGN, DataOpcode.AKCIPHER_VERIFY}
    if isinstance(parameters.scheme, EcdsaScheme):
        if not signs:
            raise BadRequest(Status.NOTSUPP, "ECDSA neither encrypts nor decrypts")
    elif signs and parameters.scheme.padding == RsaPadding.RAW:
        raise BadRequest(Status.NOTSUPP, "RSA without padding neither signs nor verifies")
    private = opcode in {DataOpcode.AKCIPHER_SIGN, DataOpcode.AKCIPHER_DECRYPT}
    if private and parameters.key_type != KeyType.PRIVATE:
        raise BadRequest(Status.ERR, f"{opcode.name} wants a private key")
