# SPDX-License-Identifier: BSD-3-Clause
"""Reads off a crypto device's requests what is counted of them (virtio 1.2 §5.9.7).

Must not know how they are executed; they may be anything a driver sends.
"""

from __future__ import annotations

from vof.counts import OTHER
from vof.target.devices.device import Result
from vof.wire.crypto import CREATE_SESSION, ControlOpcode, DataOpcode, Status
from vof.wire.crypto_requests import DATA_HEADER
from vof.wire.crypto_sessions import SESSION_ANSWER, read_session_answer

_CREATES = frozenset(map(int, CREATE_SESSION.values()))
_OPERATIONS = {int(opcode): opcode.name.lower() for opcode in DataOpcode}
_CONTROL = {
    int(opcode): "create_session" if opcode in _CREATES else "destroy_session"
    for opcode in ControlOpcode
}


def kind_of(readable: memoryview, *, control: bool) -> str:
    """Return a request's name, as the driver of ours has it too."""
    return (_CONTROL if control else _OPERATIONS).get(_opcode(readable), OTHER)


def result_of(readable: memoryview, writable: memoryview, used: int, *, control: bool) -> Result:
    """Return what is counted of one that was answered: its data is all behind the header."""
    creates = control and _opcode(readable) in _CREATES and len(writable) >= SESSION_ANSWER.size
    status = read_session_answer(writable).status if creates else writable[-1]
    if status != Status.OK:
        return Result(0, failed=True)
    data = 0 if control else max(0, len(readable) - DATA_HEADER.size) + used - 1
    return Result(data, failed=False)


def _opcode(readable: memoryview) -> int:
    return int.from_bytes(readable[:4], "little") if len(readable) >= 4 else -1
