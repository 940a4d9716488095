# SPDX-License-Identifier: BSD-3-Clause
"""The names of the algorithms, and which of them a device offers."""

from __future__ import annotations

import hashlib
import re
import subprocess

import pytest

from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import device, open_driver
from vof.gateways.crypto.algorithms import ALGORITHMS, Operation, offered, text_of
from vof.gateways.crypto.listing import listing
from vof.wire.crypto import Service

EVERYTHING = (1 << 64) - 1


def test_names_have_one_form() -> None:
    assert len(ALGORITHMS) > 70
    for name, algorithm in ALGORITHMS.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert algorithm.name == name
        assert algorithm.operations


def test_openssl_knows_the_ciphers_by_these_names() -> None:
    run = subprocess.run(
        ["openssl", "list", "-cipher-algorithms"], capture_output=True, text=True, check=True
    )
    known = set(run.stdout.lower().replace("\n", " ").split())
    aliases = {"aes-128-ccm": "id-aes128-ccm", "des-ede3-ecb": "des-ede3"}
    for name, algorithm in ALGORITHMS.items():
        if algorithm.service in {Service.CIPHER, Service.AEAD}:
            meant = {name, aliases.get(name, name), name.replace("aes-", "id-aes", 1)}
            assert known & meant, name


def test_hashlib_knows_the_digests() -> None:
    for algorithm in ALGORITHMS.values():
        if algorithm.digest:
            assert hashlib.new(algorithm.digest, usedforsecurity=False).digest_size


@pytest.mark.parametrize(
    ("lengths", "text"),
    [((16,), "16"), ((4, 8), "4,8"), (range(1, 65), "1-64"), (range(4, 9, 2), "4,6,8"), ((), "")],
)
def test_text_of(lengths: tuple[int, ...], text: str) -> None:
    assert text_of(lengths) == text


def test_offered(serve: Serve) -> None:
    """By service, algorithm and key length: 32 bytes for ciphers, 64 for codes."""
    driver = open_driver(serve(device()))
    found = offered(driver)
    driver.close()
    assert [name for name in found if found[name].service is not Service.AKCIPHER] == [
        "aes-128-cbc",
        "aes-128-ctr",
        "aes-192-cbc",
        "aes-192-ctr",
        "aes-256-cbc",
        "aes-256-ctr",
        "sha256",
        "hmac-sha256",
        "cmac-aes-128",
        "cmac-aes-192",
        "cmac-aes-256",
        "aes-128-gcm",
        "aes-192-gcm",
        "aes-256-gcm",
    ]
    assert found["hmac-sha256"].key_lengths == range(1, 65)
    assert {"rsa", "rsa-pkcs1", "rsa-sha256", "ecdsa-p521-sha512"} <= set(found)


def test_a_device_that_offers_everything(serve: Serve) -> None:
    """Numbers that nobody has a name for are not shown."""
    driver = open_driver(
        serve(
            device(
                services=0xFFFFFFFF,
                cipher=EVERYTHING,
                hashes=0xFFFFFFFF,
                mac=EVERYTHING,
                aead=0xFFFFFFFF,
                akcipher=0xFFFFFFFF,
                cipher_key=0xFFFFFFFF,
                mac_key=0xFFFFFFFF,
            )
        )
    )
    assert set(offered(driver)) == set(ALGORITHMS)
    driver.close()


@pytest.mark.parametrize("changes", [{"services": 0}, {"cipher_key": 0, "services": 1}])
def test_a_device_that_offers_nothing(serve: Serve, changes: dict[str, int]) -> None:
    driver = open_driver(serve(device(**changes)))  # type: ignore[arg-type]
    assert offered(driver) == {}
    assert listing(driver, offered(driver).values()) == ""
    driver.close()


def test_listing(serve: Serve) -> None:
    driver = open_driver(serve(device()))
    lines = listing(driver, offered(driver).values()).splitlines()
    driver.close()
    assert lines[0].split() == [
        "aes-128-cbc", "service=cipher", "operations=encrypt,decrypt", "key=16", "iv=16",
        "block=16", "max_size=2032",
    ]  # fmt: skip
    assert all(re.fullmatch(r"\S+ +service=\S+( \w+=\S+)+", line) for line in lines)


def test_operations_are_named_as_the_manual_names_them() -> None:
    assert set(Operation) == {"encrypt", "decrypt", "sign", "verify", "digest"}
