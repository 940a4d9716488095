# SPDX-License-Identifier: BSD-3-Clause
"""vofctl crypto: what it does over a session, and how it ends when that fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.loopback import unused_port
from tests.support.scripted_target import TVQN, ScriptedTarget
from tests.support.target_fixtures import Serve
from tests.target.process import TargetProcess
from tests.unit.drivers.crypto_device import F_REVISION_1, RESULT, Answers, device, opcode
from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.exits import Exit

CRYPTO0 = "cli/crypto0.service"

CONFIG = """
[target]
port = 0

[crypto]
tvqn = cli/crypto0.service
model = crypto
backend = driver=crypto-openssl
"""

CREATE, DESTROY, ENCRYPT, DIGEST = 0x002, 0x003, 0x000, 0x100
KEY = b"UNSPEAKABLE-KEY!"
IV = "00" * 16


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    return path


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Options that lead to a crypto device of a real target."""
    config = tmp_path_factory.mktemp("cli") / "target.conf"
    config.write_text(CONFIG, encoding="utf-8")
    with TargetProcess(config) as process:
        yield "--tvqn", CRYPTO0, "--tport", str(process.address[1])


def at(target: ScriptedTarget) -> tuple[str, ...]:
    return "--tvqn", TVQN, "--tport", str(target.port)


class TestWork:
    @pytest.mark.parametrize("mode", ["auto", "session", "stateless"])
    def test_there_and_back(
        self, run: Run, target: tuple[str, ...], key_file: Path, mode: str
    ) -> None:
        options = (*target, "--algorithm", "aes-128-gcm", "--key-file", key_file, "--iv", IV)
        options = (*options, "--aad", "beef", "--tag-length", 12, "--mode", mode)
        status, sealed, error = run("crypto", "encrypt", *options, data=b"some text")
        assert (status, len(sealed), error) == (0, 9 + 12, "")
        status, text, error = run("crypto", "decrypt", *options, data=sealed)
        assert (status, text, error) == (0, b"some text", "")
        status, text, error = run("crypto", "decrypt", *options, data=sealed[1:])
        assert (status, text) == (Exit.REJECTED, b"")
        assert "the tag does not fit" in error

    def test_digest(self, run: Run, target: tuple[str, ...]) -> None:
        data = bytes(range(256)) * 100
        digest = hashlib.sha256(data)
        options = ("crypto", "digest", *target, "--algorithm", "SHA256")
        assert run(*options, data=data) == (0, digest.digest(), "")
        assert run(*options, "--hex", data=data) == (0, f"{digest.hexdigest()}\n".encode(), "")

    def test_signatures(self, run: Run, target: tuple[str, ...], tmp_path: Path) -> None:
        import subprocess

        key, signature = tmp_path / "rsa.pem", tmp_path / "signature"
        subprocess.run(["openssl", "genrsa", "-out", key, "1024"], check=True, capture_output=True)
        options = (*target, "--algorithm", "rsa-sha256", "--key-file", key)
        status, signed, _error = run("crypto", "sign", *options, data=b"text")
        assert status == 0
        assert run("crypto", "verify", *options, data=signed + b"text")[:2] == (0, b"ok\n")
        signature.write_bytes(signed)
        options = ("crypto", "verify", *options, "--signature-file", signature)
        assert run(*options, data=b"text")[:2] == (0, b"ok\n")
        status, output, error = run(*options, data=b"TEXT")
        assert (status, output) == (Exit.REJECTED, b"")
        assert error == "vofctl: the device rejected the signature or key of akcipher_verify\n"
        signature.write_bytes(bytes(129))
        status, _output, error = run(*options, data=b"text")
        assert status == Exit.USAGE
        assert "no signature of this key" in error

    def test_algorithms(self, run: Run, target: tuple[str, ...]) -> None:
        status, output, error = run("crypto", "algorithms", *target)
        assert (status, error) == (0, "")
        assert output.startswith(b"aes-128-ecb ")
        assert b"\necdsa-p521-sha512 " in output

    def test_algorithms_as_json(self, run: Run, target: tuple[str, ...]) -> None:
        status, output, error = run("crypto", "algorithms", *target, "-o", "json")
        assert (status, error) == (0, "")
        found = json.loads(output)
        assert list(found) == ["schema", "algorithms"]
        # The same as the text, in the same order.
        lines = run("crypto", "algorithms", *target)[1].decode().splitlines()
        expected = []
        for line in lines:
            name, *pairs = line.split()
            expected.append({"name": name} | dict(pair.split("=") for pair in pairs))
        assert found["algorithms"] == expected
        assert expected[0].items() >= {"name": "aes-128-ecb", "service": "cipher"}.items()


class TestModes:
    @pytest.mark.parametrize(
        ("features", "mode", "expected"),
        [
            (0b111111, "auto", [ENCRYPT]),
            (0b111111, "stateless", [ENCRYPT]),
            (0b111111, "session", [CREATE, ENCRYPT, DESTROY]),
            (F_REVISION_1, "auto", [CREATE, ENCRYPT, DESTROY]),
            (0, "auto", [CREATE, ENCRYPT, DESTROY]),
        ],
    )
    def test_what_is_sent(
        self, serve: Serve, run: Run, key_file: Path, features: int, mode: str,
        expected: Sequence[int],
    ) -> None:  # fmt: skip
        target = serve(device(features), Answers())
        options = ("--algorithm", "aes-128-ctr", "--key-file", key_file, "--iv", IV)
        words = ("crypto", "encrypt", *at(target), *options, "--mode", mode)
        assert run(*words, data=bytes(10)) == (0, RESULT * 10, "")
        assert [opcode(command) for command in target.requests()] == expected

    def test_without_room_for_the_key(self, serve: Serve, run: Run, key_file: Path) -> None:
        """In stateless mode it counts as a part of the request."""
        target = serve(device(), Answers())
        options = ("--algorithm", "aes-128-ctr", "--key-file", key_file, "--iv", IV)
        status, output, _error = run("crypto", "encrypt", *at(target), *options, data=bytes(2040))
        assert (status, len(output)) == (0, 2040)
        assert CREATE in [opcode(command) for command in target.requests()]

    def test_that_the_device_lacks(self, serve: Serve, run: Run) -> None:
        target = serve(device(0), Answers())
        status, _output, error = run(
            "crypto", "digest", *at(target), "--algorithm", "sha256", "--mode", "stateless"
        )
        assert status == Exit.FAILED
        assert error == "vofctl: the device takes HASH operations in a session only\n"

    def test_the_session_ends_when_the_operation_fails(
        self, serve: Serve, run: Run, key_file: Path
    ) -> None:
        target = serve(device(), Answers({ENCRYPT: [bytes(10), b"\1"]}))
        options = ("--algorithm", "aes-128-ctr", "--key-file", key_file, "--iv", IV)
        words = ("crypto", "encrypt", *at(target), *options, "--mode", "session")
        status, output, error = run(*words, data=bytes(10))
        assert (status, output) == (Exit.FAILED, b"")
        assert error == "vofctl: the device failed cipher_encrypt\n"
        assert [opcode(command) for command in target.requests()] == [CREATE, ENCRYPT, DESTROY]


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ((), "required"),
            (("nonsense",), "unknown verb 'nonsense'"),
            (("crypto",), "required"),
            (("crypto", "nonsense"), "unknown verb 'nonsense'"),
            (("crypto", "digest", "--tvqn", "x"), "--algorithm"),
            (("crypto", "digest", "--algorithm", "sha256"), "--tvqn"),
            (("crypto", "digest", "--tvqn", "x", "--algo", "sha256"), "--algorithm"),
            (("crypto", "digest", "--tvqn", "x", "--algorithm", "rot13"), "unknown algorithm"),
            (
                ("crypto", "digest", "--tvqn", "x", "--algorithm", "sha256", "--tport", "0"),
                "tport=0: not a number",
            ),
            (("crypto", "encrypt", "--tvqn", "x", "--algorithm", "sha256"), "does not encrypt"),
            (("crypto", "encrypt", "--tvqn", "x", "--algorithm", "aes-128-ecb"), "wants a key"),
            (
                ("crypto", "encrypt", "--tvqn", "x", "--algorithm", "aes-128-cbc", "--iv", "0"),
                "--iv: not an even number",
            ),
            (
                ("crypto", "encrypt", "--tvqn", "x", "--algorithm", "aes-128-ecb", "--iv", "00"),
                "has no iv",
            ),
            (
                ("crypto", "digest", "--tvqn", "x", "--algorithm", "sha1", "--tag-length", "4"),
                "has no tag_length",
            ),
        ],
    )
    def test_command_line(self, run: Run, words: tuple[str, ...], text: str) -> None:
        status, output, error = run(*words)
        assert (status, output) == (Exit.USAGE, b"")
        assert text in error

    def test_a_key_of_wrong_length(self, run: Run, key_file: Path) -> None:
        key_file.write_bytes(KEY[:-1])
        words = ("crypto", "encrypt", "--tvqn", "x", "--algorithm", "aes-128-ecb")
        status, _output, error = run(*words, "--key-file", key_file)
        assert status == Exit.USAGE
        assert error == "vofctl: a key of 15 bytes; aes-128-ecb takes 16\n"

    @pytest.mark.parametrize("name", ["/dev/zero", "/nonexistent/key", "/"])
    def test_a_key_file_that_cannot_be_used(self, run: Run, name: str) -> None:
        words = ("crypto", "encrypt", "--tvqn", "x", "--algorithm", "aes-128-ecb")
        status, _output, error = run(*words, "--key-file", name)
        assert status in {Exit.USAGE, Exit.FAILED}
        assert name in error

    def test_too_much_input(self, serve: Serve, run: Run) -> None:
        target = serve(device(), Answers())
        words = ("crypto", "digest", *at(target), "--algorithm", "sha256")
        assert run(*words, data=bytes(4064))[0] == 0
        status, _output, error = run(*words, data=bytes(4065))
        assert (status, error) == (
            Exit.USAGE,
            "vofctl: too much input: the device takes 4064 bytes to digest\n",
        )


class TestReaching:
    @pytest.mark.parametrize("verb", ["digest", "algorithms"])
    def test_no_target(self, run: Run, verb: str) -> None:
        words = ["crypto", verb, "--tvqn", "x", "--tport", unused_port()]
        if verb == "digest":
            words += ["--algorithm", "sha256"]
        status, _output, error = run(*words)
        assert status == Exit.UNREACHABLE
        assert error.startswith("vofctl: ")
        assert error.count("\n") == 1

    def test_no_device(self, run: Run, target: tuple[str, ...]) -> None:
        words = ("crypto", "digest", *target, "--algorithm", "sha256", "--tvqn", "cli/none")
        status, _output, error = run(*words)
        assert status == Exit.UNREACHABLE
        assert "has no device 'cli/none'" in error

    def test_a_device_of_another_type(self, serve: Serve, run: Run) -> None:
        target = serve()
        status, _output, error = run("crypto", "algorithms", *at(target))
        assert (status, "is not a virtio-crypto" in error) == (Exit.USAGE, True)

    def test_a_device_without_the_algorithm(self, serve: Serve, run: Run) -> None:
        target = serve(device(), Answers())
        status, _output, error = run("crypto", "digest", *at(target), "--algorithm", "sha512")
        assert (status, error) == (Exit.FAILED, "vofctl: the device does not offer sha512\n")

    def test_a_device_that_lies(self, serve: Serve, run: Run) -> None:
        target = serve(device(), Answers({DIGEST: [b"", b"\0"]}))
        status, output, error = run("crypto", "digest", *at(target), "--algorithm", "sha256")
        assert (status, output) == (Exit.UNREACHABLE, b"")
        assert "protocol violation by the device: hash succeeded with 0 of 32 bytes" in error

    def test_a_device_that_never_answers(self, serve: Serve, run: Run) -> None:
        target = serve(device(), lambda command: command.opcode == 0x2000)
        words = ("crypto", "digest", *at(target), "--algorithm", "sha256", "--timeout", "0.2")
        status, _output, error = run(*words)
        assert status == Exit.UNREACHABLE
        assert "no answer to hash within 0.2 s" in error


def test_the_key_is_in_no_message(serve: Serve, run: Run, key_file: Path) -> None:
    for answers in (Answers({ENCRYPT: [b"", b""]}), Answers({ENCRYPT: [bytes(16), b"\1"]})):
        target = serve(device(cipher=1 << 2), answers)
        words = ("crypto", "encrypt", *at(target), "--algorithm", "aes-128-ecb")
        status, output, error = run(*words, "--key-file", key_file, data=bytes(16))
        assert status != 0
        assert "UNSPEAKABLE" not in error + output.decode()
