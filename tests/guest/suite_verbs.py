# SPDX-License-Identifier: BSD-3-Clause
"""What the fabric takes for granted of rxe and of pyverbs. Runs inside: see `scenario_rdma`.

Each is either a limit that the fabric needs, or a peculiarity that it works around: where one of
these fails, after an upgrade say, a workaround may have become wrong, or needless.
"""

import time
from typing import Any

import pytest
from pyverbs import cm_enums, enums
from pyverbs.cmid import CMID, AddrInfo
from pyverbs.device import Context, get_device_list
from pyverbs.pyverbs_error import PyverbsRDMAError

from tests.guest import rxe, verbs

PORTS = [rxe.ALONE, rxe.NEAR, rxe.FAR]
NOBODY = "10.40.1.77"
"""In the network of the wire, and never answered for."""


def bind(manager: verbs.Manager, address: str) -> Any:
    cmid = CMID(creator=manager.channel)
    passive = AddrInfo(
        src=address,
        src_service=verbs.PORT,
        port_space=cm_enums.RDMA_PS_TCP,
        flags=cm_enums.RAI_PASSIVE,
    )
    cmid.bind_addr(passive)
    return cmid


def still_wanted(request: Any, patience: float) -> bool:
    """Whether the connection a request asks for can still be made, after so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            request.init_qp_attr(enums.IBV_QPS_RTS)
        except PyverbsRDMAError:
            return False
        if time.monotonic() >= deadline:
            return True


def test_devices_are_listed() -> None:
    names = {device.name.decode() for device in get_device_list()}
    assert names == {port.device for port in PORTS}


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.device)
def test_limits(port: rxe.Port) -> None:
    limits = Context(name=port.device).query_device()
    assert limits.max_qp_rd_atom >= 128  # what the Linux initiator asks for
    assert limits.max_sge >= 32
    assert limits.max_qp_wr >= 4096
    assert limits.max_mr >= 4096


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.device)
def test_address_names_its_device(port: rxe.Port) -> None:
    cmid = bind(verbs.Manager(), port.address)
    assert cmid.dev_name == port.device
    cmid.close()


@pytest.mark.parametrize(
    ("address", "number"),
    [(rxe.UNSERVED, 19), (NOBODY, 99)],
    ids=["no device", "not ours"],
)
def test_address_that_cannot_be_bound(address: str, number: int) -> None:
    with pytest.raises(PyverbsRDMAError) as caught:
        bind(verbs.Manager(), address)
    assert caught.value.error_code == number


def test_address_in_use() -> None:
    manager = verbs.Manager()
    first = bind(manager, rxe.FAR.address)
    first.listen(1)
    with pytest.raises(PyverbsRDMAError) as caught:
        bind(manager, rxe.FAR.address)
    assert caught.value.error_code == 98
    first.close()


def test_nobody_listens() -> None:
    with pytest.raises(verbs.Ended, match="REJECTED"):
        verbs.connect(rxe.FAR.address)


def test_host_that_does_not_answer() -> None:
    start = time.monotonic()
    with pytest.raises(verbs.Ended, match="ADDR_ERROR"):
        verbs.connect(NOBODY)
    assert time.monotonic() - start < 10


def test_connecting_can_be_given_up() -> None:
    """Closed while nobody has accepted: at once, and the listener finds a request of no use."""
    near, far = verbs.Manager(), verbs.Manager()
    listener = bind(far, rxe.FAR.address)
    listener.listen(1)
    cmid = verbs.resolve(near, rxe.FAR.address)
    connection = verbs.Connection(near, cmid)
    cmid.connect(verbs.parameters(connection.number, resources=1, depth=0))
    event = far.next()
    request = CMID(creator=event, listen_id=listener)
    event.ack_cm_event()
    assert still_wanted(request, patience=0)
    connection.close()
    assert not still_wanted(request, patience=10)
    request.close()
    listener.close()
