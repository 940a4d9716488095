# SPDX-License-Identifier: BSD-3-Clause
"""Crypto sessions on a real mount: their files, their limits, and what is refused."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec

import pytest

from tests.fuse import crypto_oracle as oracle
from tests.fuse.crypto_files import CryptoFiles, crypto, mounted_crypto, read_all

__all__ = ["crypto"]

pytestmark = pytest.mark.fuse

KEY = bytes(range(16))
IV = bytes(range(100, 116))


_P = ParamSpec("_P")


def refused(number: int, act: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        act(*args, **kwargs)
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


class TestTree:
    def test_the_device(self, crypto: CryptoFiles) -> None:
        assert sorted(path.name for path in crypto.device.iterdir()) == [
            "algorithms",
            "info",
            "sessions",
        ]
        info = crypto.mount.info("crypto0")
        assert info["type"] == "virtio-crypto"
        assert info["services"] == "CIPHER HASH MAC AEAD AKCIPHER"
        assert info["queues"] == "3 of 3"

    @pytest.mark.parametrize(
        ("algorithm", "files"),
        [
            ("", []),
            ("aes-128-ecb", ["decrypt", "encrypt", "key"]),
            ("aes-128-cbc", ["decrypt", "encrypt", "iv", "key"]),
            ("aes-128-gcm", ["aad", "decrypt", "encrypt", "iv", "key", "tag_length"]),
            ("sha256", ["digest"]),
            ("hmac-sha256", ["digest", "key", "tag_length"]),
            ("rsa", ["decrypt", "encrypt", "key"]),
            ("rsa-pkcs1", ["decrypt", "encrypt", "key", "sign", "verify"]),
            ("ecdsa-p256-sha256", ["key", "sign", "verify"]),
        ],
    )
    def test_what_applies(self, crypto: CryptoFiles, algorithm: str, files: list[str]) -> None:
        with crypto.session(algorithm) as session:
            found = {path.name for path in session.path.iterdir()}
            assert sorted(found - {"algorithm", "status"}) == files
            assert found >= {"algorithm", "status"}
            assert session.get("algorithm") == (f"{algorithm}\n" if algorithm else "")

    def test_permissions(self, crypto: CryptoFiles) -> None:
        with crypto.session("aes-128-gcm") as session:
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in session.path.iterdir()
            }
        assert modes.pop("key") == 0o200
        assert modes.pop("status") == 0o400
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(crypto.sessions.stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        "name", ["a b", "-rf", "é", "*", "'\"$(x)", "名前", "x" * 255, ".hidden", "algorithm"]
    )
    def test_odd_names(self, crypto: CryptoFiles, name: str) -> None:
        path = crypto.sessions / name
        path.mkdir()
        assert name in {entry.name for entry in crypto.sessions.iterdir()}
        refused(errno.EEXIST, path.mkdir)
        path.rmdir()
        refused(errno.ENOENT, path.rmdir)

    @pytest.mark.parametrize(
        ("name", "number"),
        [(b"a\nb", errno.EINVAL), (b"\xff", errno.EINVAL), (b"\x1b[2J", errno.EINVAL),
         (b"x" * 256, errno.ENAMETOOLONG), ("é".encode() * 128, errno.ENAMETOOLONG)],
    )  # fmt: skip
    def test_names_that_are_refused(self, crypto: CryptoFiles, name: bytes, number: int) -> None:
        refused(number, (crypto.sessions / os.fsdecode(name)).mkdir)

    def test_nothing_else_can_be_made_or_removed(self, crypto: CryptoFiles) -> None:
        with crypto.session("sha256") as session:
            refused(errno.EPERM, (session.path / "more").mkdir)
            refused(errno.EPERM, (session.path / "more").touch)
            refused(errno.EPERM, (session.path / "digest").unlink)
            refused(errno.EPERM, (crypto.sessions / "file").touch)
            refused(errno.EPERM, session.path.rename, crypto.sessions / "other")
            refused(errno.EPERM, crypto.sessions.rmdir)

    def test_a_flood_of_sessions(self, crypto: CryptoFiles) -> None:
        names = [crypto.sessions / f"flood-{number}" for number in range(256)]
        for path in names:
            path.mkdir()
        for _ in range(10):
            refused(errno.ENOSPC, (crypto.sessions / "one-more").mkdir)
        assert crypto.mount.info("crypto0")["sessions"] == "256 of 256"
        for path in names:
            path.rmdir()
        assert list(crypto.sessions.iterdir()) == []


class TestAttributes:
    def test_an_unknown_algorithm(self, crypto: CryptoFiles) -> None:
        with crypto.session() as session:
            for name in ("aes-512-cbc", "", "\n", "aes-128-cbc\naes-128-cbc", "\0", "x" * 4000):
                if name:
                    refused(errno.EINVAL, session.set, "algorithm", name)
                    assert session.failure().startswith("EINVAL: unknown algorithm '")
            refused(errno.EFBIG, session.set, "algorithm", "x" * 5000)
            refused(errno.EOPNOTSUPP, session.set, "algorithm", "rc4")
            assert session.failure() == "EOPNOTSUPP: the device does not offer rc4"
            session.set("algorithm", "  AES-128-CBC ")
            assert session.get("algorithm") == "aes-128-cbc\n"

    @pytest.mark.parametrize(
        ("algorithm", "sizes"),
        [
            ("aes-128-cbc", (1, 15, 17, 24, 32, 65536)),
            ("aes-256-xts", (32, 63, 65)),
            ("hmac-sha256", (513, 4096)),
            ("chacha20-poly1305", (16, 31, 33)),
        ],
    )
    def test_a_key_of_wrong_length(
        self, crypto: CryptoFiles, algorithm: str, sizes: tuple[int, ...]
    ) -> None:
        with crypto.session(algorithm) as session:
            for size in sizes:
                refused(errno.EINVAL, session.set, "key", bytes(size))
                assert session.failure().startswith(f"EINVAL: a key of {size} bytes; {algorithm}")
            refused(errno.EFBIG, session.set, "key", bytes((64 << 10) + 1))
            assert session.status()["state"] == "wants a key"

    @pytest.mark.parametrize(
        ("algorithm", "name", "value"),
        [
            ("aes-128-cbc", "iv", "00"),
            ("aes-128-cbc", "iv", "0" * 31),
            ("aes-128-cbc", "iv", "g" * 32),
            ("aes-128-gcm", "iv", "00" * 7),
            ("aes-128-gcm", "iv", "00" * 129),
            ("aes-128-ccm", "iv", "00" * 14),
            ("aes-128-gcm", "aad", "0"),
            ("aes-128-gcm", "tag_length", "5"),
            ("aes-128-gcm", "tag_length", "-4"),
            ("aes-128-gcm", "tag_length", "17"),
            ("aes-128-gcm", "tag_length", "4294967300"),
            ("hmac-sha256", "tag_length", "0"),
            ("hmac-sha256", "tag_length", "33"),
            ("hmac-sha256", "tag_length", "xvi"),
        ],
    )
    def test_values_that_are_refused(
        self, crypto: CryptoFiles, algorithm: str, name: str, value: str
    ) -> None:
        with crypto.session(algorithm) as session:
            before = session.get(name)
            refused(errno.EINVAL, session.set, name, value)
            assert session.failure().startswith("EINVAL: ")
            assert session.get(name) == before

    def test_values_are_read_back_but_for_keys(self, crypto: CryptoFiles) -> None:
        with crypto.session("aes-128-gcm", KEY, iv=IV, aad=b"more", tag_length=12) as session:
            assert session.get("iv") == f"{IV.hex()}\n"
            assert session.get("aad") == f"{b'more'.hex()}\n"
            assert session.get("tag_length") == "12\n"
            assert (session.path / "key").stat().st_size == 0
            refused(errno.EACCES, session.get, "key")
            refused(errno.EACCES, os.open, session.path / "key", os.O_RDWR)
            assert KEY.hex() not in session.get("status")
            session.set("iv", "\n")
            assert session.get("iv") == ""

    @pytest.mark.parametrize(
        ("algorithm", "content", "reason"),
        [
            ("rsa", b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", "no private or public key in PEM"),
            ("rsa", b"\x30\x82\x00\x01", "no private or public key in DER"),
            ("rsa-sha256", bytes(1000), "no private or public key in DER"),
            ("ecdsa-p256-sha256", b"secret", "no private or public key in DER"),
        ],
    )
    def test_a_key_that_is_none(
        self, crypto: CryptoFiles, algorithm: str, content: bytes, reason: str
    ) -> None:
        with crypto.session(algorithm) as session:
            refused(errno.EINVAL, session.set, "key", content)
            assert session.failure() == f"EINVAL: {reason} was found"

    def test_a_key_of_another_kind(self, crypto: CryptoFiles) -> None:
        p384 = oracle.openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout")
        with crypto.session("ecdsa-p256-sha256") as session:
            refused(errno.EINVAL, session.set, "key", p384)
            assert "takes no key on the curve secp384r1" in session.failure()
        with crypto.session("rsa") as session:
            refused(errno.EINVAL, session.set, "key", p384)
            assert "takes no key of that kind" in session.failure()

    def test_another_algorithm_drops_everything(self, crypto: CryptoFiles) -> None:
        with crypto.session("aes-128-cbc", KEY, iv=IV) as session:
            session.run("encrypt", bytes(16))
            session.set("algorithm", "aes-128-cbc")
            assert session.status()["state"] == "ready"
            session.set("algorithm", "aes-128-ctr")
            assert session.status()["state"] == "wants a key"
            assert session.get("iv") == ""

    def test_another_key(self, crypto: CryptoFiles) -> None:
        """What was begun before goes on with the key that it was begun with."""
        other = bytes(16)
        with crypto.session("aes-128-ecb", KEY) as session:
            first = session.open("encrypt")
            assert session.run("encrypt", bytes(16)) == oracle.cipher(
                "aes-128-ecb", KEY, b"", bytes(16)
            )
            session.set("key", other)
            os.write(first, bytes(16))
            assert read_all(first) == oracle.cipher("aes-128-ecb", KEY, b"", bytes(16))
            os.close(first)
            assert session.run("encrypt", bytes(16)) == oracle.cipher(
                "aes-128-ecb", other, b"", bytes(16)
            )
            assert session.status()["device_sessions"] == "1"
        assert crypto.mount.info("crypto0")["device_sessions"] == "0"


class TestOperations:
    def test_many_writes_and_reads_in_pieces(self, crypto: CryptoFiles) -> None:
        data = os.urandom(1000)
        with crypto.session("aes-128-ctr", KEY, iv=IV) as session:
            expected = oracle.cipher("aes-128-ctr", KEY, IV, data)
            fd = session.open("encrypt")
            for place in range(0, 1000, 7):
                os.write(fd, data[place : place + 7])
            assert b"".join(iter(lambda: os.read(fd, 13), b"")) == expected
            assert os.read(fd, 1) == b""
            os.lseek(fd, 0, os.SEEK_SET)
            assert os.read(fd, 10) == expected[:10]
            assert os.pread(fd, 100, 500) == expected[500:600]
            assert os.pread(fd, 10, 1000) == b""
            assert os.pread(fd, 10, (1 << 63) - 20) == b""
            os.close(fd)

    def test_a_shells_descriptor(self, crypto: CryptoFiles) -> None:
        with crypto.session("sha256") as session:
            script = 'exec 3<>"$1/digest"; printf hel >&3; printf lo >&3; cat <&3'
            run = subprocess.run(
                ["bash", "-ec", script, "-", session.path], capture_output=True, check=True
            )
            assert run.stdout == oracle.digest("sha256", b"hello", 32)

    def test_nothing_written(self, crypto: CryptoFiles) -> None:
        with crypto.session("sha256") as session:
            assert (session.path / "digest").read_bytes() == oracle.digest("sha256", b"", 32)
        with crypto.session("aes-128-cbc", KEY, iv=IV) as session:
            refused(errno.EINVAL, session.run, "encrypt")
            assert session.failure().startswith("EINVAL: 0 bytes of input")

    @pytest.mark.parametrize(
        ("algorithm", "size", "reason"),
        [
            ("aes-128-cbc", 15, "15 bytes of input are no multiple of 16"),
            ("aes-128-cbc", 4097, "4097 bytes of input are no multiple of 16"),
            ("aes-128-xts", 15, "15 bytes of input; aes-128-xts wants at least 16"),
        ],
    )
    def test_input_of_wrong_length(
        self, crypto: CryptoFiles, algorithm: str, size: int, reason: str
    ) -> None:
        key = KEY if algorithm == "aes-128-cbc" else bytes(range(32))
        with crypto.session(algorithm, key, iv=IV) as session:
            for operation in ("encrypt", "decrypt"):
                refused(errno.EINVAL, session.run, operation, bytes(size))
                assert session.failure().startswith(f"EINVAL: {reason}")

    @pytest.mark.parametrize(
        ("key", "attributes", "reason"),
        [(None, {"iv": IV}, "aes-128-cbc wants a key"), (KEY, {}, "aes-128-cbc wants an iv")],
    )
    def test_something_is_missing(
        self, crypto: CryptoFiles, key: bytes | None, attributes: dict[str, bytes], reason: str
    ) -> None:
        with crypto.session("aes-128-cbc", key, **attributes) as session:
            refused(errno.EINVAL, session.run, "encrypt", bytes(16))
            assert session.failure() == f"EINVAL: {reason}"

    def test_too_much(self, crypto: CryptoFiles) -> None:
        """A part of the input has no result, however often it is asked for."""
        limits = {name: int(pairs["max_size"]) for name, pairs in crypto.algorithms().items()}
        for algorithm in ("sha256", "aes-128-ctr"):
            key, given = (KEY, {"iv": IV}) if algorithm != "sha256" else (None, {})
            operation = "encrypt" if key else "digest"
            with crypto.session(algorithm, key, **given) as session:
                fd = session.open(operation)
                for _ in range(limits[algorithm] // 4096):
                    os.write(fd, bytes(4096))
                os.write(fd, bytes(limits[algorithm] % 4096))
                refused(errno.EFBIG, os.write, fd, b"x")
                assert "EFBIG: the device takes" in session.failure()
                for _ in range(2):
                    refused(errno.EFBIG, os.read, fd, 100)
                refused(errno.EFBIG, os.pread, fd, 100, 0)
                refused(errno.EFBIG, os.write, fd, b"y")
                os.close(fd)
                assert session.run(operation, b"once more")

    def test_writers(self, crypto: CryptoFiles) -> None:
        with crypto.session("sha256") as session:
            for number, place in ((errno.EBUSY, 0), (errno.EINVAL, 5), (errno.EINVAL, 1 << 62)):
                fd = session.open("digest")
                os.write(fd, b"one")
                refused(number, os.pwrite, fd, b"two", place)
                refused(number, os.read, fd, 100)
                os.close(fd)
            fd = session.open("digest")
            os.write(fd, b"one")
            assert os.read(fd, 100) == oracle.digest("sha256", b"one", 32)
            refused(errno.EBUSY, os.write, fd, b"more")
            refused(errno.EBUSY, os.pread, fd, 100, 0)
            os.close(fd)
            refused(errno.EINVAL, (session.path / "digest").write_bytes, b"lost")
            assert "opened for reading and writing" in session.failure()

    def test_values_of_a_part(self, crypto: CryptoFiles) -> None:
        """A key or attribute whose end is refused is not used without it, nor the one before."""
        with crypto.session("aes-128-gcm", bytes(16), iv=IV[:12], aad=b"before") as session:
            for name, start, rest, good in (
                ("key", KEY, KEY, KEY),
                ("aad", b"00" * 1000, b"0", b"00"),
                ("iv", b"11" * 12, b"0" * 200_000, b"11" * 12),
            ):
                fd = session.open(name, os.O_WRONLY)
                os.write(fd, start)
                with pytest.raises(OSError, match=r"Errno (22|27)"):
                    os.write(fd, rest)
                os.close(fd)
                assert session.status()["state"] == f"wants another {name}"
                refused(errno.EINVAL, session.run, "encrypt", b"text")
                assert f"{name} was refused" in session.failure()
                session.set(name, good)
                assert session.run("encrypt", b"text")

    def test_a_failed_tag(self, crypto: CryptoFiles) -> None:
        for algorithm in ("aes-128-gcm", "aes-128-ccm"):
            with crypto.session(algorithm, KEY, iv=IV[:12], aad=b"header") as session:
                sealed = session.run("encrypt", b"text")
                for spoilt in (
                    sealed[:-1] + bytes([sealed[-1] ^ 1]),
                    bytes([sealed[0] ^ 1]) + sealed[1:],
                    sealed[1:],
                    bytes(16),
                ):
                    refused(errno.EBADMSG, session.run, "decrypt", spoilt)
                refused(errno.EINVAL, session.run, "decrypt", bytes(15))
                session.set("aad", b"HEADER".hex())
                refused(errno.EBADMSG, session.run, "decrypt", sealed)
                assert session.failure().startswith("EBADMSG: ")
                session.set("aad", b"header".hex())
                assert session.run("decrypt", sealed) == b"text"

    def test_a_failed_signature(self, crypto: CryptoFiles) -> None:
        rsa = oracle.openssl("genrsa", "2048")
        ecdsa = oracle.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
        for algorithm, key in (("rsa-sha256", rsa), ("ecdsa-p256-sha256", ecdsa)):
            with crypto.session(algorithm, key) as session:
                signature = session.run("sign", b"text")
                assert session.run("verify", signature, b"text") == b"ok\n"
                refused(errno.EKEYREJECTED, session.run, "verify", signature, b"TEXT")
                refused(errno.EKEYREJECTED, session.run, "verify", signature)
                refused(errno.EINVAL, session.run, "verify", signature[:20])
                refused(errno.EINVAL, session.run, "verify")
                fd = session.open("verify")
                os.write(fd, signature + b"other")
                for _ in range(3):
                    refused(errno.EKEYREJECTED, os.read, fd, 10)
                os.close(fd)
                assert session.run("verify", signature, b"text") == b"ok\n"

    def test_a_public_key_signs_nothing(self, crypto: CryptoFiles) -> None:
        rsa = oracle.openssl("genrsa", "1024")
        public = oracle.openssl("pkey", "-pubout", data=rsa)
        with crypto.session("rsa-sha256", public) as session:
            refused(errno.EINVAL, session.run, "sign", b"text")
            assert "takes a private key; this one is public" in session.failure()
            assert session.status()["key"] == "public"


class TestTheEnd:
    def test_of_a_session_with_open_files(self, crypto: CryptoFiles) -> None:
        with crypto.session("aes-128-ecb", KEY) as session:
            used, fresh, attribute = (session.open(n) for n in ("encrypt", "encrypt", "algorithm"))
            os.write(used, bytes(16))
            output = os.read(used, 100)
            os.write(fresh, bytes(16))
            session.path.rmdir()
            os.lseek(used, 0, os.SEEK_SET)
            assert os.read(used, 100) == output
            refused(errno.ESTALE, os.read, fresh, 100)
            refused(errno.ENOENT, session.open, "encrypt")
            assert crypto.mount.info("crypto0")["device_sessions"] == "0"
            for fd in (used, fresh, attribute):
                os.close(fd)

    def test_of_a_session_while_it_is_used(self, crypto: CryptoFiles) -> None:
        """Every operation either comes to its end or says that the session is gone."""
        for _round in range(5):
            with crypto.session("aes-128-ctr", KEY, iv=IV) as session:
                fds = [session.open("encrypt") for _ in range(8)]
                for fd in fds:
                    os.write(fd, bytes(100_000))
                outcomes: list[int] = []

                def read(fd: int, outcomes: list[int] = outcomes) -> None:
                    try:
                        outcomes.append(len(read_all(fd)))
                    except OSError as error:
                        outcomes.append(-(error.errno or 0))

                threads = [threading.Thread(target=read, args=(fd,)) for fd in fds]
                for thread in threads:
                    thread.start()
                session.path.rmdir()
                for thread in threads:
                    thread.join(30)
                for fd in fds:
                    os.close(fd)
                assert len(outcomes) == 8
                assert set(outcomes) <= {100_000, -errno.ESTALE}
        assert crypto.mount.info("crypto0")["device_sessions"] == "0"

    def test_of_the_target(self, tmp_path: Path) -> None:
        with mounted_crypto(tmp_path) as crypto:
            with crypto.session("aes-128-ecb", KEY) as session:
                fd = session.open("encrypt")
                os.write(fd, bytes(16))
                crypto.target.stop()
                refused(errno.EIO, os.read, fd, 16)
                os.close(fd)
                refused(errno.EIO, session.run, "decrypt", bytes(16))
                assert session.status()["state"].startswith("lost: ")
                assert "closed by the target" in session.failure()
                assert crypto.mount.info("crypto0")["state"] == "lost"
                (crypto.sessions / "another").mkdir()
                (crypto.sessions / "another").rmdir()


def test_sessions_side_by_side(crypto: CryptoFiles) -> None:
    """32 of them, each with a key of its own, from as many threads."""

    def work(number: int) -> None:
        key = number.to_bytes(2, "big") * 8
        for algorithm, attributes in (("aes-128-ctr", {"iv": IV}), ("aes-128-gcm", {"iv": IV})):
            with crypto.session(algorithm, key, **attributes) as session:
                for size in (1, 4096, 65536, 3):
                    data = number.to_bytes(1, "big") * size
                    done = session.run("encrypt", data)
                    if algorithm == "aes-128-ctr":
                        assert done == oracle.cipher(algorithm, key, IV, data)
                    assert session.run("decrypt", done) == data

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert crypto.mount.info("crypto0")["device_sessions"] == "0"


def test_operations_of_one_session_side_by_side(crypto: CryptoFiles) -> None:
    with crypto.session("hmac-sha256", KEY) as session:

        def work(number: int) -> None:
            for size in range(10):
                data = number.to_bytes(4, "big") * (size + 1)
                assert session.run("digest", data) == oracle.code("hmac-sha256", KEY, data)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        assert session.status()["device_sessions"] == "1"
        assert session.status()["operations"] == "160"
