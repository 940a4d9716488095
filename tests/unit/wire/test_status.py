# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of a refusal in each dialect, and what an initiator makes of one."""

from __future__ import annotations

import pytest

from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5
from vof.wire.status import SENTENCES, Reason, describe_v5_status

EIO, EACCES, EFAULT, EBUSY, ENODEV = 5, 13, 14, 16, 19
EINVAL, ECHRNG, EPROTO, EOPNOTSUPP = 22, 44, 71, 95

REASONS = {
    # v5's number, and the errno of proposal and v2.
    "UNKNOWN_COMMAND": (0x0001, EOPNOTSUPP),
    "TOO_MANY_COMMANDS": (0x0002, EBUSY),
    "NO_TARGET": (0x1001, ENODEV),
    "NO_INSTANCE": (0x1002, EBUSY),
    "ACCESS": (0x1003, EACCES),
    "BAD_INSTANCE": (0x1010, ENODEV),
    "BAD_NAME": (0x1011, EPROTO),
    "FOREIGN_FORM": (0x1010, EPROTO),
    "NO_QUEUE": (0x1020, ECHRNG),
    "NO_SUCH_QUEUE": (0x1020, EINVAL),
    "QUEUE_IN_USE": (0x1021, EBUSY),
    "QUEUE_SIZE": (0x1022, EINVAL),
    "TRANSPORT_FEATURE": (0x2000, EINVAL),
    "DEVICE_STATUS": (0x2010, EINVAL),
    "DEVICE_FEATURE": (0x2020, EINVAL),
    "CONFIG_EXTENT": (0x2030, EINVAL),
    "CONFIG_WIDTH": (0x2031, EINVAL),
    "CONFIG_FAILED": (0x2030, EIO),
}


def test_every_reason_has_its_numbers() -> None:
    assert {
        reason.name: (V5.status_of(reason), PROPOSAL.status_of(reason)) for reason in Reason
    } == REASONS
    assert all(V2.status_of(reason) == PROPOSAL.status_of(reason) for reason in Reason)


V5_STATUSES = {
    0x0001: ("unknown or disabled command", EOPNOTSUPP),
    0x0002: ("too many commands", EBUSY),
    0x1001: ("no target", ENODEV),
    0x1002: ("could not be created", EBUSY),
    0x1003: ("access", EACCES),
    0x1010: ("instance id", ENODEV),
    0x1011: ("name", EPROTO),
    0x1020: ("index too large", ECHRNG),
    0x1021: ("in use", EBUSY),
    0x1022: ("queue size", EINVAL),
    0x2000: ("transport feature", EINVAL),
    0x2010: ("device status", EINVAL),
    0x2020: ("device feature", EINVAL),
    0x2030: ("config", EINVAL),
    0x2031: ("width", EINVAL),
    0x20F0: ("could not be read", EFAULT),
    0x20F1: ("could not be written", EFAULT),
}


def test_each_status_of_v5_is_known() -> None:
    assert set(SENTENCES) == set(V5_STATUSES)


@pytest.mark.clause("v5 Status 3", "initiator")
@pytest.mark.parametrize(("status", "words", "errno"), [(k, *v) for k, v in V5_STATUSES.items()])
def test_a_refusal_of_v5(status: int, words: str, errno: int) -> None:
    """The words, the number as the text writes it, and an errno for our own edges."""
    error = V5.refused("get_config", status)
    assert str(error).startswith(f"the target refused get_config with status {status:#06x}: ")
    assert words in str(error)
    assert (error.status, error.errno) == (status, errno)
    assert V5.describe_status(status) in str(error)


@pytest.mark.parametrize("status", [0x1000, 0x20F2, 0xFFFF])
def test_a_status_that_v5_does_not_have(status: int) -> None:
    error = V5.refused("vq", status)
    assert describe_v5_status(status) == "a status that no text has"
    assert (error.status, error.errno) == (status, EIO)


def test_an_errno_that_comes_as_a_status_of_v5() -> None:
    """So a target of an earlier revision refuses a Connect of v5: its words say more."""
    assert str(V5.refused("connect", 71)) == str(PROPOSAL.refused("connect", 71))


@pytest.mark.parametrize(
    ("status", "words", "errno"),
    [
        (19, "ENODEV (No such device)", 19),
        (71, "EPROTO (Protocol error)", 71),
        (4096, "some other error", EIO),
        (134, "no errno", EIO),
        (0x1001, "no errno", EIO),
    ],
)
def test_a_refusal_of_the_earlier_revisions(status: int, words: str, errno: int) -> None:
    for dialect in (PROPOSAL, V2):
        error = dialect.refused("connect", status)
        assert str(error) == f"the target refused connect with status {status}: {words}"
        assert (error.status, error.errno) == (status, errno)


def test_success_is_no_reason() -> None:
    assert all(dialect.status_of(reason) for dialect in DIALECTS for reason in Reason)
