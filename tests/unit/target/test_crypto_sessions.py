# SPDX-License-Identifier: BSD-3-Clause
"""Sessions of an association: their number, their ids, and what becomes of their keys."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.target.backends.crypto_interface import CryptoContext
from vof.target.devices.crypto_answers import refuse
from vof.target.devices.crypto_sessions import SessionTable, wipe
from vof.wire.crypto import (
    BadRequest,
    CipherAlgorithm,
    ControlOpcode,
    DataOpcode,
    Direction,
    HashAlgorithm,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import CipherParameters, HashParameters, Parameters
from vof.wire.structs import Buffer

PARAMETERS = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, b"k" * 16)


class Keys:
    """A backend that shows what it was given."""

    def __init__(self) -> None:
        self.seen: list[Buffer] = []

    def prepare(self, parameters: Parameters) -> CryptoContext:
        self.seen.append(parameters.key)
        return Nothing()


class Nothing(CryptoContext):
    def execute(self, request: DataRequest) -> bytes:
        return b""


@pytest.fixture
def keys() -> Keys:
    return Keys()


def table(limit: int = 3) -> SessionTable:
    ids = itertools.count(7)
    return SessionTable(limit, lambda: next(ids))


def refused(table: SessionTable, session_id: int) -> Status:
    with pytest.raises(BadRequest) as caught, table.use(session_id):
        pass
    return caught.value.status


def test_a_key_is_copied_and_overwritten(keys: Keys) -> None:
    sessions = table()
    original = bytearray(b"k" * 16)
    made = sessions.create(
        CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, original), keys.prepare
    )
    wipe(original)
    assert original == bytes(16)
    (copy,) = keys.seen
    assert copy == b"k" * 16
    with sessions.use(made) as session:
        assert session.parameters.key is copy
        assert "107, 107" not in repr(session.parameters)
        assert "kkkk" not in repr(session.parameters)
    sessions.destroy(Service.CIPHER, made)
    assert copy == bytes(16)
    assert refused(sessions, made) == Status.INVSESS


def test_a_key_in_use_is_kept_until_it_is_not(keys: Keys) -> None:
    sessions = table()
    made = sessions.create(PARAMETERS, keys.prepare)
    with sessions.use(made) as one:
        with sessions.use(made) as two:
            sessions.destroy(Service.CIPHER, made)
            assert refused(sessions, made) == Status.INVSESS
            assert one is two
            assert one.context
        assert keys.seen[0] == b"k" * 16
    assert keys.seen[0] == bytes(16)
    assert one.context is None


def test_clear_overwrites_all(keys: Keys) -> None:
    sessions = table()
    for _ in range(3):
        sessions.create(PARAMETERS, keys.prepare)
    sessions.clear()
    assert len(sessions) == 0
    assert keys.seen == [bytes(16)] * 3


def test_a_key_that_was_not_taken_is_overwritten() -> None:
    seen: list[Buffer] = []

    def prepare(parameters: Parameters) -> CryptoContext:
        seen.append(parameters.key)
        raise BadRequest(Status.ERR, "no")

    sessions = table()
    for _ in range(9):
        with pytest.raises(BadRequest, match=r"^no$"):
            sessions.create(PARAMETERS, prepare)
    assert seen == [bytes(16)] * 9
    assert len(sessions) == 0


def test_a_session_without_a_key(keys: Keys) -> None:
    sessions = table()
    made = sessions.create(HashParameters(HashAlgorithm.SHA_256, 32), keys.prepare)
    sessions.destroy(Service.HASH, made)


def test_the_limit(keys: Keys) -> None:
    sessions = table(3)
    made = [sessions.create(PARAMETERS, keys.prepare) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(BadRequest) as caught:
            sessions.create(PARAMETERS, keys.prepare)
        assert caught.value.status == Status.NOSPC
    assert len(keys.seen) == 3, "no work is done for what there is no room for"
    sessions.destroy(Service.CIPHER, made[1])
    again = sessions.create(PARAMETERS, keys.prepare)
    assert again not in made


def test_destroying_what_is_not_there(keys: Keys) -> None:
    sessions = table()
    made = sessions.create(PARAMETERS, keys.prepare)
    for service, number in ((Service.HASH, made), (Service.CIPHER, made + 1), (Service.CIPHER, 0)):
        with pytest.raises(BadRequest) as caught:
            sessions.destroy(service, number)
        assert caught.value.status == Status.ERR
    sessions.destroy(Service.CIPHER, made)
    with pytest.raises(BadRequest):
        sessions.destroy(Service.CIPHER, made)


def test_many_threads_keep_to_the_limit(keys: Keys) -> None:
    sessions = table(50)
    results: list[int] = []

    def work() -> None:
        for _ in range(40):
            try:
                made = sessions.create(PARAMETERS, keys.prepare)
            except BadRequest:
                continue
            results.append(made)
            with sessions.use(made):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == len(results) == len(sessions) == 50


@given(
    st.sampled_from([*ControlOpcode, *DataOpcode, 0x9999]),
    st.integers(1, 100),
    st.booleans(),
    st.sampled_from([status for status in Status if status]),
)
def test_no_refusal_looks_like_success(
    opcode: int, room: int, control: bool, status: Status
) -> None:
    """Wherever a driver looks for the status of what it sent, it finds it."""
    writable = memoryview(bytearray(b"\xee" * room))
    refuse(status, memoryview(opcode.to_bytes(4, "little")), writable, control=control)
    creates = opcode in {op for op in ControlOpcode if op.name.endswith("CREATE_SESSION")}
    if creates and room >= 16:
        assert int.from_bytes(writable[8:12], "little") == status
        assert int.from_bytes(writable[:8], "little") == 0
    else:
        assert writable[-1] == status
    assert 0xEE not in bytes(writable)


def test_a_request_too_short_for_an_opcode() -> None:
    writable = memoryview(bytearray(1))
    refuse(Status.ERR, memoryview(b""), writable, control=True)
    assert writable[0] == Status.ERR
