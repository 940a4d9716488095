# SPDX-License-Identifier: BSD-3-Clause
"""The ``openssl`` program as a second opinion, and keys that it makes."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    """Run the program; return what it wrote."""
    run = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True)
    return run.stdout


def fails(*arguments: str | Path, data: bytes = b"") -> bool:
    """Return whether the program refuses."""
    run = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    return run.returncode != 0


@cache
def rsa_key(bits: int) -> tuple[bytes, bytes]:
    """Return RSAPrivateKey and RSAPublicKey in DER."""
    pem = openssl("genrsa", "-traditional", str(bits))
    private = openssl("rsa", "-traditional", "-outform", "DER", data=pem)
    public = openssl("rsa", "-RSAPublicKey_out", "-outform", "DER", data=pem)
    return private, public


@cache
def ec_key(curve: str, *, named: bool = True) -> tuple[bytes, bytes]:
    """Return ECPrivateKey in DER, with or without its curve, and the point."""
    pem = openssl("ecparam", "-name", curve, "-genkey", "-noout")
    private = openssl("ec", "-outform", "DER", data=pem)
    whole = openssl("ec", "-pubout", "-outform", "DER", data=pem)
    point = whole[whole.index(b"\0\4") + 1 :]
    if not named:
        size = (len(point) - 1) // 2
        start = private.index(bytes((4, size))) + 2
        secret = private[start : start + size]
        inner = b"\2\1\1" + bytes((4, size)) + secret
        private = b"\x30" + bytes((len(inner),)) + inner
    return private, point
