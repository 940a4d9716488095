# SPDX-License-Identifier: BSD-3-Clause
"""Refuses requests to a crypto device, understood or not (virtio 1.2 §5.9.7).

The status has its place by the kind of request. A request that came to the wrong queue is of a kind
that this queue does not know; its answer has the status wherever its driver may look for it, so
that no refusal can be taken for success.
"""

from __future__ import annotations

from vof.wire.crypto import CREATE_SESSION, Status
from vof.wire.crypto_sessions import SESSION_ANSWER, control_refusal

_OPCODE_SIZE = 4
_CREATES = frozenset(map(int, CREATE_SESSION.values()))
_ZEROS = bytes(1 << 16)


def refuse(status: Status, readable: memoryview, writable: memoryview, *, control: bool) -> None:
    """Write the answer over all of ``writable``, which has one byte at least."""
    zero(writable)
    opcode = int.from_bytes(readable[:_OPCODE_SIZE], "little")
    creates = opcode in _CREATES
    has_room = len(writable) >= SESSION_ANSWER.size
    if has_room and (control or creates):
        writable[: SESSION_ANSWER.size] = control_refusal(status, SESSION_ANSWER.size)
    if not (has_room and control and creates):
        writable[-1] = status


def zero(area: memoryview) -> None:
    """Overwrite with zeros, without a second buffer of that size."""
    for start in range(0, len(area), len(_ZEROS)):
        part = area[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]
