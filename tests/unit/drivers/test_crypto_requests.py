# SPDX-License-Identifier: BSD-3-Clause
"""What the crypto driver sends for each request, and what it makes of the answer."""

from __future__ import annotations

import dataclasses
import errno
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from tests.support.protocol_numbers import VRING
from tests.support.scripted_target import Command, ScriptedTarget, completion, on, vring_completion
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import (
    F_REVISION_1,
    RESULT,
    Answers,
    device,
    open_driver,
    queues_of,
)
from tests.unit.drivers.opening import descriptors
from vof.counts import add_counts
from vof.drivers.crypto import CryptoDriver
from vof.errors import (
    CompletionError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionLost,
    VofError,
)
from vof.wire.crypto import (
    AeadAlgorithm,
    CipherAlgorithm,
    DataOpcode,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    HashParameters,
    MacParameters,
    RsaScheme,
)

KEY = bytearray(b"a key of 16 byte")
CIPHER = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, KEY)
HASH = HashParameters(HashAlgorithm.SHA_256, 32)
MAC = MacParameters(MacAlgorithm.HMAC_SHA_256, 32, KEY)
AEAD = AeadParameters(AeadAlgorithm.GCM, Direction.DECRYPT, KEY, 16)
RSA = AkcipherParameters(RsaScheme(RsaPadding.PKCS1, RsaHash.SHA256), KeyType.PRIVATE, KEY)

CREATE_CIPHER, CREATE_HASH, CREATE_MAC = 0x002, 0x102, 0x202
DESTROY_CIPHER, DESTROY_MAC = 0x003, 0x203
ENCRYPT, DIGEST, CODE, OPEN = 0x000, 0x100, 0x200, 0x301
DECIPHER, SIGN, VERIFY = 0x401, 0x402, 0x403


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def target(serve: Serve, answers: Answers) -> ScriptedTarget:
    return serve(device(), answers)


@pytest.fixture
def driver(target: ScriptedTarget) -> Iterator[CryptoDriver]:
    driver = open_driver(target)
    yield driver
    driver.close()


def digest(driver: CryptoDriver, data: bytes = b"data") -> bytes:
    """Ask for a digest without a session."""
    return bytes(
        driver.execute(DataRequest(DataOpcode.HASH, parameters=HASH, src=data, result_len=32))
    )


def overstating(used: int) -> Callable[[Command], None]:
    """Return an answer of zeros in every buffer, of which the device says it wrote ``used``."""

    def answer(command: Command) -> None:
        zeros = [bytes(each.length) for each in command.writable]
        command.connection.send(vring_completion(command, zeros, used))

    return answer


class TestSent:
    """The bytes of each request."""

    def test_create(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        assert driver.create_session(CIPHER) == 101
        [command] = target.commands
        assert command.payload.hex() == (
            "02000000" "03000000" "00000000" "00000000"
            "03000000" "10000000" "01000000" "00000000"
            f"{'00' * 32}" "01000000" "00000000"
        ) + KEY.hex()  # fmt: skip
        assert descriptors(command) == [("r", 72), ("r", 16), ("w", 16)]
        assert queues_of([command]) == [2]

    def test_destroy(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        driver.create_session(MAC)
        target.commands.clear()
        driver.destroy_session(Service.MAC, 101)
        [command] = target.commands
        assert command.payload.hex() == (
            "03020000" "00000000" "00000000" "00000000" "6500000000000000"
        )  # fmt: skip
        assert descriptors(command) == [("r", 24), ("w", 1)]
        assert queues_of([command]) == [2]

    def test_an_operation_in_a_session(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        session = driver.create_session(CIPHER)
        target.commands.clear()
        iv, data = bytes(range(16)), b"sixteen bytes ok"
        request = DataRequest(
            DataOpcode.CIPHER_ENCRYPT, session, src=data, result_len=len(data), iv=iv
        )
        assert driver.execute(request) == RESULT * 16
        [command] = target.commands
        assert command.payload.hex() == (
            "00000000" "00000000" "6500000000000000" "01000000" "00000000"
            "10000000" "10000000" "10000000" "00000000"
            f"{'00' * 24}" "01000000" "00000000"
        ) + iv.hex() + data.hex()  # fmt: skip
        assert descriptors(command) == [("r", 72), ("r", 16), ("r", 16), ("w", 16), ("w", 1)]

    def test_an_operation_without_one(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        assert digest(driver) == RESULT * 32
        [command] = target.commands
        assert command.payload.hex() == (
            "00010000" "00000000" "0000000000000000" "00000000" "00000000"
            "04000000" "04000000" "20000000" "00000000"
        ) + b"data".hex()  # fmt: skip
        assert descriptors(command) == [("r", 40), ("r", 4), ("w", 32), ("w", 1)]

    def test_nothing_to_digest(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        assert digest(driver, b"") == RESULT * 32
        [command] = target.commands
        assert descriptors(command) == [("r", 40), ("w", 32), ("w", 1)]

    def test_fixed_parts_are_padded_without_revision_1(self, serve: Serve) -> None:
        target = serve(device(0), Answers())
        driver = open_driver(target)
        session = driver.create_session(HASH)
        driver.execute(DataRequest(DataOpcode.HASH, session, src=b"data", result_len=32))
        driver.destroy_session(Service.HASH, session)
        sizes = [descriptors(command)[0][1] for command in target.commands]
        assert sizes == [72, 72, 72]
        driver.close()

    def test_the_longest_request_has_seven_descriptors(
        self, target: ScriptedTarget, driver: CryptoDriver
    ) -> None:
        request = DataRequest(
            DataOpcode.AEAD_DECRYPT,
            parameters=AEAD,
            src=bytes(20),
            iv=bytes(12),
            aad=b"more",
            result_len=4,
        )
        assert driver.execute(request) == RESULT * 4
        [command] = target.commands
        assert len(command.descriptors) == 7


class TestStatus:
    """How a device ends a request."""

    @pytest.mark.parametrize(
        ("status", "number", "text"),
        [
            (1, errno.EIO, "the device failed hash"),
            (2, errno.EBADMSG, "the tag does not fit the data in hash"),
            (3, errno.EOPNOTSUPP, "the device does not support hash"),
            (4, errno.ESTALE, "the device does not know the session of hash"),
            (5, errno.ENOSPC, "the device has no room for hash"),
            (6, errno.EKEYREJECTED, "the device rejected the signature or key of hash"),
            (7, errno.EIO, "the device ended hash with unknown status 7"),
            (255, errno.EIO, "the device ended hash without writing a status"),
        ],
    )
    def test_of_an_operation(
        self, driver: CryptoDriver, answers: Answers, status: int, number: int, text: str
    ) -> None:
        answers.instead[DIGEST] = [bytes(32), bytes([status])]
        with pytest.raises(DeviceError, match=text) as caught:
            digest(driver)
        assert (caught.value.status, caught.value.errno) == (status, number)
        del answers.instead[DIGEST]
        assert digest(driver)
        counts = add_counts(queue.fabric.counts() for queue in driver.session.virtqueues)
        assert counts["hash"][2:5] == (0, 1, 0)
        counts = add_counts(queue.fabric.counts() for queue in driver.session.virtqueues)
        assert counts["hash"][2:5] == (0, 1, 0)

    @pytest.mark.parametrize(
        ("status", "number"),
        [
            (1, errno.EIO),
            (3, errno.EOPNOTSUPP),
            (5, errno.ENOSPC),
            (6, errno.EKEYREJECTED),
            (1 << 31, errno.EIO),
            ((1 << 32) - 1, errno.EIO),
        ],
    )
    def test_of_a_session(
        self, driver: CryptoDriver, answers: Answers, status: int, number: int
    ) -> None:
        answers.instead[CREATE_CIPHER] = [struct.pack("<QII", 5, status, 0)]
        for _attempt in range(2):
            with pytest.raises(DeviceError, match="create_session") as caught:
                driver.create_session(CIPHER)
            assert (caught.value.status, caught.value.errno) == (status, number)
        with pytest.raises(LocalProtocolError):
            driver.destroy_session(Service.CIPHER, 5)

    def test_of_a_destruction(self, driver: CryptoDriver, answers: Answers) -> None:
        session = driver.create_session(CIPHER)
        answers.instead[DESTROY_CIPHER] = [b"\1"]
        with pytest.raises(DeviceError, match="destroy_session"):
            driver.destroy_session(Service.CIPHER, session)
        with pytest.raises(LocalProtocolError, match=f"session {session} is not open"):
            driver.destroy_session(Service.CIPHER, session)

    def test_a_short_answer_that_says_it_failed(
        self, driver: CryptoDriver, answers: Answers
    ) -> None:
        answers.instead[DIGEST] = [b"", b"\1"]
        with pytest.raises(DeviceError):
            digest(driver)
        assert driver.session.error is None

    def test_a_request_that_the_target_refuses(self, serve: Serve) -> None:
        target = serve(device(), on(VRING, lambda command: command.reply(status=22)))
        driver = open_driver(target)
        for act in (lambda: digest(driver), lambda: driver.create_session(CIPHER)):
            with pytest.raises(CompletionError) as caught:
                act()
            assert caught.value.errno == errno.EINVAL
        driver.close()


class TestLies:
    """Answers that cannot be: the association is over."""

    @staticmethod
    def expect(driver: CryptoDriver, act: Callable[[], object], text: str) -> None:
        with pytest.raises(RemoteProtocolError, match=re.escape(text)):
            act()
        with pytest.raises(SessionLost):
            digest(driver)

    @pytest.mark.parametrize("length", [0, 1, 31])
    def test_less_than_asked_for(self, driver: CryptoDriver, answers: Answers, length: int) -> None:
        answers.instead[DIGEST] = [bytes(length), b"\0"]
        self.expect(
            driver, lambda: digest(driver), f"by the device: hash succeeded with {length} of 32"
        )

    def test_no_status(self, driver: CryptoDriver, answers: Answers) -> None:
        answers.instead[DIGEST] = [bytes(32), b""]
        self.expect(driver, lambda: digest(driver), "hash completed without a status byte")

    @pytest.mark.parametrize(
        ("used", "text"),
        [(0, "hash completed without a status byte"), (2, "hash succeeded with 1 of 32 bytes")],
    )
    def test_what_comes_back_unwritten(self, serve: Serve, used: int, text: str) -> None:
        target = serve(device(), on(VRING, overstating(used)))
        driver = open_driver(target)
        self.expect(driver, lambda: digest(driver), text)
        driver.close()

    def test_a_session_that_comes_back_unwritten(self, serve: Serve) -> None:
        target = serve(device(), on(VRING, overstating(8)))
        driver = open_driver(target)
        self.expect(driver, lambda: driver.create_session(CIPHER), "answered with 8 bytes instead")
        driver.close()

    def test_nothing_at_all(self, driver: CryptoDriver, answers: Answers) -> None:
        answers.instead[DIGEST] = [b"", b""]
        self.expect(driver, lambda: digest(driver), "hash completed without a status byte")

    def test_no_descriptors(self, serve: Serve) -> None:
        target = serve(device(), on(VRING, lambda command: command.reply()))
        driver = open_driver(target)
        self.expect(driver, lambda: digest(driver), "has 0 descriptors")
        driver.close()

    @pytest.mark.parametrize("lengths", [(33, 1), (32, 2), (1 << 31, 1)])
    def test_more_than_asked_for(self, serve: Serve, lengths: Sequence[int]) -> None:
        def answer(command: Command) -> None:
            parts = [completion(0, command.command_id, 2, sum(lengths))]
            for each, length in zip(command.writable, lengths, strict=True):
                parts.append(struct.pack("<QIHHI4x", 0, length, each.id, each.flags, 0))
            command.connection.send(b"".join(parts))

        target = serve(device(), on(VRING, answer))
        driver = open_driver(target)
        self.expect(driver, lambda: digest(driver), "which has room for")
        driver.close()

    @pytest.mark.parametrize("length", [0, 1, 8, 12, 15])
    def test_a_session_answered_in_part(
        self, driver: CryptoDriver, answers: Answers, length: int
    ) -> None:
        answers.instead[CREATE_CIPHER] = [bytes(length)]
        self.expect(
            driver, lambda: driver.create_session(CIPHER), f"answered with {length} bytes instead"
        )

    def test_a_session_id_in_use(self, driver: CryptoDriver, answers: Answers) -> None:
        session = driver.create_session(CIPHER)
        answers.instead[CREATE_MAC] = [struct.pack("<QII", session, 0, 0)]
        self.expect(driver, lambda: driver.create_session(MAC), f"session {session} was made twice")

    def test_a_session_id_used_again(self, driver: CryptoDriver, answers: Answers) -> None:
        answers.instead[CREATE_CIPHER] = [struct.pack("<QII", 0, 0, 0)]
        for _ in range(3):
            assert driver.create_session(CIPHER) == 0
            driver.destroy_session(Service.CIPHER, 0)

    def test_a_destruction_without_status(self, driver: CryptoDriver, answers: Answers) -> None:
        session = driver.create_session(MAC)
        answers.instead[DESTROY_MAC] = [b""]
        self.expect(
            driver,
            lambda: driver.destroy_session(Service.MAC, session),
            "destroy_session completed without a status byte",
        )


class TestAkcipher:
    def test_a_result_may_be_shorter(self, driver: CryptoDriver, answers: Answers) -> None:
        for number, length in ((SIGN, 1), (SIGN, 256), (DECIPHER, 0), (DECIPHER, 3)):
            answers.instead[number] = [b"s" * length, b"\0"]
            request = DataRequest(DataOpcode(number), parameters=RSA, src=bytes(32), result_len=256)
            assert driver.execute(request) == b"s" * length

    def test_no_signature_is_empty(self, driver: CryptoDriver, answers: Answers) -> None:
        answers.instead[SIGN] = [b"", b"\0"]
        request = DataRequest(
            DataOpcode.AKCIPHER_SIGN, parameters=RSA, src=bytes(32), result_len=256
        )
        with pytest.raises(RemoteProtocolError, match="succeeded with 0 of 256 bytes"):
            driver.execute(request)

    def test_a_forgery_where_the_third_descriptor_gets_the_status(
        self, driver: CryptoDriver, target: ScriptedTarget
    ) -> None:
        def refuse(command: Command) -> None:
            # As the reference target: a status byte that is elsewhere stays as it was there, 0.
            answers = {each.id: bytearray(each.length) for each in command.writable}
            answers.setdefault(command.descriptors[2].id, bytearray(1))[0] = 6
            command.complete(*(bytes(answers[each.id]) for each in command.writable))

        session = driver.create_session(RSA)
        target.hooks.insert(0, on(VRING, refuse))
        request = DataRequest(DataOpcode.AKCIPHER_VERIFY, session, src=b"s" * 256, signed=b"d" * 32)
        with pytest.raises(DeviceError, match="rejected the signature"):
            driver.execute(request)
        command = target.commands[-1]
        assert command.payload[-288:] == b"s" * 256 + b"d" * 32
        assert descriptors(command) == [("r", 32), ("r", 288), ("w", 1)]

    def test_verify_has_none(self, driver: CryptoDriver, answers: Answers) -> None:
        request = DataRequest(
            DataOpcode.AKCIPHER_VERIFY, parameters=RSA, src=bytes(256), signed=bytes(32)
        )
        assert bytes(driver.execute(request)) == b""
        answers.instead[VERIFY] = [b"\6"]
        with pytest.raises(DeviceError) as caught:
            driver.execute(request)
        assert caught.value.errno == errno.EKEYREJECTED


class TestNotSent:
    """What the driver refuses itself."""

    @staticmethod
    def refusal(target: ScriptedTarget, act: Callable[[], object]) -> tuple[int, str]:
        target.commands.clear()
        with pytest.raises(LocalProtocolError) as caught:
            act()
        assert target.commands == []
        return caught.value.errno, str(caught.value)

    def test_an_algorithm_that_is_not_offered(
        self, target: ScriptedTarget, driver: CryptoDriver
    ) -> None:
        other = CipherParameters(CipherAlgorithm.AES_ECB, Direction.ENCRYPT, KEY)
        number, text = self.refusal(target, lambda: driver.create_session(other))
        assert number == errno.EOPNOTSUPP
        assert text.endswith("has no CIPHER AES_ECB")
        request = DataRequest(
            DataOpcode.CIPHER_ENCRYPT, parameters=other, src=bytes(16), result_len=16
        )
        assert self.refusal(target, lambda: driver.execute(request)) == (number, text)

    def test_a_service_that_is_not_offered(self, serve: Serve) -> None:
        target = serve(device(services=0b10), Answers())
        driver = open_driver(target)
        number, text = self.refusal(target, lambda: driver.create_session(MAC))
        assert (number, text.endswith("has no MAC")) == (errno.EOPNOTSUPP, True)
        request = DataRequest(DataOpcode.MAC, 1, result_len=32)
        assert self.refusal(target, lambda: driver.execute(request)) == (number, text)
        driver.close()

    def test_stateless_mode_that_was_not_agreed_on(self, serve: Serve) -> None:
        target = serve(device(F_REVISION_1), Answers())
        driver = open_driver(target)
        _number, text = self.refusal(target, lambda: digest(driver))
        assert text == "HASH requests without a session are not agreed on"
        driver.close()

    @pytest.mark.parametrize("kind", [CIPHER, MAC, AEAD], ids=["cipher", "mac", "aead"])
    def test_a_key_that_is_too_long(
        self,
        target: ScriptedTarget,
        driver: CryptoDriver,
        kind: CipherParameters | MacParameters | AeadParameters,
    ) -> None:
        limit = driver.max_key_length(kind.service)
        driver.create_session(dataclasses.replace(kind, key=bytes(limit)))
        longer = dataclasses.replace(kind, key=b"secret".ljust(limit + 1))
        _number, text = self.refusal(target, lambda: driver.create_session(longer))
        assert text == f"a key of {limit + 1} bytes; the device takes {limit}"

    @pytest.mark.parametrize("length", [4096 - 31, 1 << 20])
    def test_more_than_max_size(
        self, target: ScriptedTarget, driver: CryptoDriver, length: int
    ) -> None:
        assert digest(driver, bytes(4096 - 32))
        number, text = self.refusal(target, lambda: digest(driver, bytes(length)))
        assert number == errno.EFBIG
        assert text == f"hash of {length + 32} bytes in all; the device takes 4096"

    def test_a_session_that_is_not_ours(self, target: ScriptedTarget, driver: CryptoDriver) -> None:
        session = driver.create_session(HASH)
        for foreign in (0, session + 1):
            request = DataRequest(DataOpcode.HASH, foreign, src=b"data", result_len=32)
            number, text = self.refusal(target, partial(driver.execute, request))
            assert (number, text) == (errno.ESTALE, f"session {foreign} is not open")

    def test_a_session_that_was_destroyed(
        self, target: ScriptedTarget, driver: CryptoDriver
    ) -> None:
        session = driver.create_session(HASH)
        driver.destroy_session(Service.HASH, session)
        request = DataRequest(DataOpcode.HASH, session, src=b"data", result_len=32)
        for act in (
            lambda: driver.execute(request),
            lambda: driver.destroy_session(Service.HASH, session),
        ):
            assert self.refusal(target, act)[0] == errno.ESTALE


def test_keys_are_in_no_message(serve: Serve) -> None:
    """Not in any error, nor in what anything in reach of the driver shows of itself."""
    secret = bytearray(b"UNSPEAKABLE-KEY!")
    cipher = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, secret)
    request = DataRequest(
        DataOpcode.CIPHER_ENCRYPT, parameters=cipher, src=b"UNSPEAKABLE" + bytes(5), result_len=16
    )
    texts = [repr(cipher), repr(request)]
    lies: list[dict[int, Sequence[bytes]]] = [
        {CREATE_CIPHER: [bytes(3)]},
        {ENCRYPT: [b"", b""]},
        {ENCRYPT: [b"", b"\3"]},
    ]
    for instead in lies:
        driver = open_driver(serve(device(), Answers(instead)))
        acts: list[Callable[[], object]] = [
            partial(driver.create_session, cipher),
            partial(driver.execute, request),
        ]
        for act in acts:
            try:
                act()
            except VofError as error:
                texts += [str(error), repr(error), repr(error.__dict__)]
        texts += [repr(driver), repr(driver.__dict__)]
        driver.close()
    assert len(texts) > 10
    assert not [text for text in texts if "UNSPEAKABLE" in text]
