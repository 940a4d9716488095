# SPDX-License-Identifier: BSD-3-Clause
"""The numbers that pyverbs gives its errors."""

from __future__ import annotations

import errno

import pytest
from pyverbs.pyverbs_error import PyverbsError, PyverbsRDMAError

from vof.rdma.failures import as_os_error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (PyverbsRDMAError("no", errno.ENOMEM), errno.ENOMEM),
        (PyverbsRDMAError("no", -errno.ENOMEM), errno.ENOMEM),
        (PyverbsRDMAError("no", errno.EPERM), errno.EPERM),
        (PyverbsRDMAError("no", -1), errno.EIO),
        (PyverbsRDMAError("no"), errno.EIO),
        (PyverbsError("no"), errno.EIO),
    ],
)
def test_as_os_errors(error: PyverbsError, number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught, as_os_error():
        raise error
    assert caught.value.errno == number
