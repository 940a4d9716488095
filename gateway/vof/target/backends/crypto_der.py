# SPDX-License-Identifier: BSD-3-Clause
"""Keys in DER (X.690), as far as virtio-crypto has them: a SEQUENCE of a few simple elements.

Raises ValueError for all else; its messages never show what stands in a key. The library's own
loaders would take many more kinds of keys than an initiator has any business to send.
"""

from __future__ import annotations

from typing import NamedTuple

INTEGER, OCTET_STRING, OID, SEQUENCE, PARAMETERS = 0x02, 0x04, 0x06, 0x30, 0xA0


class Element(NamedTuple):
    """A tag and what it holds."""

    tag: int
    content: memoryview

    @property
    def integer(self) -> int:
        """The value of an INTEGER. None is negative here: a key of Linux' self-tests lacks the zero
        byte that would say so.
        """
        if self.tag != INTEGER or not self.content:
            raise ValueError("a number was expected")
        return int.from_bytes(self.content, "big")


def elements(data: memoryview) -> list[Element]:
    """Return the elements that ``data`` is made of."""
    found = []
    while data:
        if len(data) < 2:
            raise ValueError("an element is cut short")
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            # Not the indefinite form, nor a length that no request could have.
            if not 2 < start <= 5 or len(data) < start:
                raise ValueError("an element has an impossible length")
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise ValueError("an element is cut short")
        found.append(Element(tag, data[start : start + length]))
        data = data[start + length :]
    return found


def sequence(data: memoryview) -> list[Element]:
    """Return the elements of the one SEQUENCE that ``data`` is."""
    outer = elements(data)
    if len(outer) != 1 or outer[0].tag != SEQUENCE:
        raise ValueError("a sequence was expected")
    return elements(outer[0].content)


def rsa_public(data: memoryview) -> tuple[int, int]:
    """Return n and e of an RSAPublicKey (RFC 8017 A.1.1)."""
    n, e = (item.integer for item in _exactly(2, sequence(data)))
    return n, e


class RsaPrivate(NamedTuple):
    """An RSAPrivateKey's numbers."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qinv: int


def rsa_private(data: memoryview) -> RsaPrivate:
    """Return the numbers of an RSAPrivateKey of two primes (RFC 8017 A.1.2)."""
    version, *numbers = (item.integer for item in _exactly(9, sequence(data)))
    if version:
        raise ValueError("a key of two primes was expected")
    return RsaPrivate(*numbers)


def ec_private(data: memoryview) -> tuple[int, bytes | None]:
    """Return the secret number of an ECPrivateKey (RFC 5915), and its curve's OID if there is
    one.
    """
    items = sequence(data)
    if len(items) < 2 or items[0].integer != 1 or items[1].tag != OCTET_STRING:
        raise ValueError("an EC key was expected")
    for item in items[2:]:
        if item.tag == PARAMETERS:
            (name,) = _exactly(1, elements(item.content))
            # Curves without a name are refused with those of another.
            return int.from_bytes(items[1].content, "big"), bytes(name.content)
    return int.from_bytes(items[1].content, "big"), None


def _exactly(count: int, items: list[Element]) -> list[Element]:
    if len(items) != count:
        raise ValueError(f"{len(items)} elements instead of {count}")
    return items
