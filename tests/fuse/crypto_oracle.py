# SPDX-License-Identifier: BSD-3-Clause
"""What OpenSSL's program makes of the same input. hashlib for digests.

AEAD algorithms and XTS, which the program's ``enc`` does not have, come from the ``cryptography``
package: by its other interface than the one the target uses.
"""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    """Run the program; return its output."""
    run = subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def cipher(name: str, key: bytes, iv: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """Encrypt or decrypt without padding."""
    if name.endswith("-xts"):
        done = Cipher(algorithms.AES(key), modes.XTS(iv))
        run = done.decryptor() if decrypt else done.encryptor()
        return run.update(data) + run.finalize()
    given = ["-iv", iv.hex()] if iv else []
    way = ["-d"] if decrypt else []
    return openssl("enc", f"-{name}", "-nopad", *way, "-K", key.hex(), *given, data=data)


def aead(name: str, key: bytes, nonce: bytes, aad: bytes, tag: int, data: bytes) -> bytes:
    """Return ciphertext and tag."""
    if name.endswith("-gcm"):
        # The tag's leftmost bytes: SP 800-38D §7.1.
        sealed = AESGCM(key).encrypt(nonce, data, aad)
        return sealed[: len(data) + tag]
    if name.endswith("-ccm"):
        return AESCCM(key, tag).encrypt(nonce, data, aad)
    return ChaCha20Poly1305(key).encrypt(nonce, data, aad)


def digest(name: str, data: bytes, size: int) -> bytes:
    made = hashlib.new(name.replace("sha3-", "sha3_").replace("shake", "shake_"))
    made.update(data)
    return made.digest()[:size] if made.digest_size else made.digest(size)  # type: ignore[call-arg]


def code(name: str, key: bytes, data: bytes) -> bytes:
    """Return a whole authentication code."""
    kind, _dash, which = name.partition("-")
    if kind == "hmac":
        return hmac.new(key, data, which).digest()
    cipher_name = which.upper() + "-CBC"
    return openssl(
        "mac", "-binary", "-cipher", cipher_name, "-macopt", f"hexkey:{key.hex()}", "-in", "-",
        "CMAC", data=data,
    )  # fmt: skip
