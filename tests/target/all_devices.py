# SPDX-License-Identifier: BSD-3-Clause
"""A target with devices of every model, and initiators of each that do nothing wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.target.conftest import Innocent, write_config
from tests.target.crypto_peer import (
    CRYPTO0,
    DECRYPT,
    ENCRYPT,
    OK,
    CryptoPeer,
    create_cipher,
    create_hash,
    run_cipher,
    run_hash,
)
from tests.target.peer import Association, vring_bytes
from vof.target.config import parse
from vof.target.server import Target

RNG0 = "virtio-target/rng/rng0.service"
LETTERS = "virtio-target/rng/letters.service"
SLOW = "virtio-target/rng/slow.service"
FILE = "virtio-target/rng/file.service"
FEW = "virtio-target/crypto/few.service"

DEVICES = """
[rng0]
tvqn = virtio-target/rng/rng0.service
model = rng
backend = driver=rng-random

[letters]
tvqn = virtio-target/rng/letters.service
model = rng
backend = driver=rng-simulator

[slow]
tvqn = virtio-target/rng/slow.service
model = rng
backend = driver=rng-simulator,bytes=10,period=3600000

[file]
tvqn = virtio-target/rng/file.service
model = rng
backend = driver=rng-file,path={folder}/random

[crypto0]
tvqn = virtio-target/crypto/crypto0.service
model = crypto
backend = driver=crypto-openssl,queues=2

[few]
tvqn = virtio-target/crypto/few.service
model = crypto
backend = driver=crypto-openssl,sessions=4,max_size=8K
"""


def all_devices(folder: Path, **changes: object) -> str:
    """Return the text of a configuration, its files made."""
    (folder / "random").write_bytes(bytes(range(100)))
    return write_config(folder, **changes) + DEVICES.format(folder=folder)


@contextmanager
def served(folder: Path, **changes: object) -> Iterator[tuple[str, int]]:
    with Target(parse(all_devices(folder, **changes), "test.conf")) as target:
        yield target.address, target.port


def room_for(rooms: tuple[int, ...]) -> tuple[bytes, list[tuple[int, int, int]]]:
    """Return a request for random bytes, and its descriptors."""
    writable = [(size, place, 2) for place, size in enumerate(rooms)]
    return vring_bytes(writable), writable


def letters(association: Association, *rooms: int) -> bytes:
    """Ask for bytes; return those that came, which are as many as there was room for."""
    request, writable = room_for(rooms)
    return association.queue.send(request).vring_completion(writable)


class Everyone:
    """Innocent initiators of a disk, of two entropy devices and of a crypto device."""

    def __init__(self, address: tuple[str, int]) -> None:
        with ExitStack() as stack:
            self._disks = stack.enter_context(Innocent(address))
            self._random = stack.enter_context(Association(address, RNG0))
            self._letters = stack.enter_context(Association(address, LETTERS))
            self._crypto = stack.enter_context(CryptoPeer(address, CRYPTO0, queues=2))
            self._sessions = (
                self._crypto.session(create_cipher(key=b"innocent" * 4)),
                self._crypto.session(create_cipher(key=b"innocent" * 4, op=DECRYPT)),
                self._crypto.session(create_hash()),
            )
            self._round = 0
            self.check()
            self._stack = stack.pop_all()

    def check(self) -> None:
        self._disks.check()
        assert len(set(letters(self._random, 64))) > 16
        self._round += 1
        assert letters(self._letters, 26) == b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        data = self._round.to_bytes(16, "big") * 4
        encrypting, decrypting, hashing = self._sessions
        status, secret = self._crypto.run(run_cipher(encrypting, data, op=ENCRYPT))
        assert status == OK
        assert self._crypto.run(run_cipher(decrypting, secret, op=DECRYPT)) == (OK, data)
        expected = hashlib.sha256(data).digest()
        assert self._crypto.run(run_hash(hashing, data)) == (OK, expected)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
