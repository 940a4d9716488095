# SPDX-License-Identifier: BSD-3-Clause
"""The program over RDMA: where it listens, what it says, how it ends. Runs inside a guest: see
`tests.guest.scenario_target_rdma`.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest import rxe
from tests.target.peer import BLOCK1, BLOCK2, IN, OK, Association
from tests.target.process import TargetProcess, run
from tests.target.rdma.association import KeyedAssociation
from tests.target.rdma.conftest import rdma_config
from vof.errors import VofError
from vof.target.config import load
from vof.target.server import Target
from vof.wire.constants import Command

NOBODYS = "10.40.1.77"
"""An address of another machine, which is not there."""


def config_file(folder: Path, port: int = 0, **changes: object) -> Path:
    path = folder / "vtgt.conf"
    text = rdma_config(folder, **changes)
    path.write_text(text.replace("port = 0", f"port = {port}"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("transport", "address", "words"),
    [
        (
            "rdma",
            rxe.UNSERVED,
            f"no RDMA device serves the address {rxe.UNSERVED}; set address in [target] to one "
            "that is served: ",
        ),
        (
            "tcp,rdma",
            "127.0.0.1",
            "no RDMA device serves the address 127.0.0.1; set address in [target]",
        ),
        ("rdma", NOBODYS, f"cannot listen on {NOBODYS}"),
    ],
)
def test_addresses_that_are_not_served(
    tmp_path: Path, transport: str, address: str, words: str
) -> None:
    # In this process: a start of the program takes ten seconds in here.
    target = Target(load(config_file(tmp_path, transport=transport, address=address)))
    with pytest.raises(VofError) as refused:
        target.open()
    assert words in str(refused.value)
    if "is served" in words:
        assert f"{rxe.FAR.address} ({rxe.FAR.device})" in str(refused.value)


@pytest.fixture(scope="module")
def spare() -> rxe.Port:
    """A device that nobody else needs."""
    port = rxe.Port("spare", "rxe3", "10.40.3.1")
    rxe.set_up_spare(port)
    return port


@pytest.fixture(scope="module")
def everywhere(
    tmp_path_factory: pytest.TempPathFactory, spare: rxe.Port
) -> Iterator[TargetProcess]:
    """One on every address and both transports."""
    path = config_file(tmp_path_factory.mktemp("x"), transport="tcp,rdma", address="0.0.0.0")
    with TargetProcess("-v", path) as process:
        yield process


def test_every_address_is_served(
    everywhere: TargetProcess, spare: rxe.Port, tmp_path: Path
) -> None:
    port = everywhere.address[1]
    line = everywhere.said[-1]
    assert f"0.0.0.0:{port} (tcp)" in line
    for place in (rxe.ALONE, rxe.NEAR, rxe.FAR, spare):
        assert f"{place.address}:{port} (rdma)" in line
    for place in (rxe.ALONE, rxe.FAR):
        with KeyedAssociation((place.address, port)) as association:
            assert association.queue.request(IN, room=512)[0] == OK
    result = run(config_file(tmp_path, address=rxe.FAR.address, port=port))
    (line,) = result.stderr.splitlines()
    assert f"cannot listen on {rxe.FAR.address} port {port} for RDMA" in line
    assert "free it, or set another address or port in [target]" in line
    assert result.returncode == 1


def test_operations_are_logged(everywhere: TargetProcess) -> None:
    with KeyedAssociation((rxe.FAR.address, everywhere.address[1])) as association:
        assert association.queue.request(IN, room=512)[0] == OK
    line = everywhere.line("queue=0 .*event=operations")
    assert re.search(r" reads=2 writes=2 sends=2 ", line), line


def test_messages_are_shown(tmp_path: Path) -> None:
    """What moves by key is not, data least of all."""
    with TargetProcess("--trace", config_file(tmp_path, address=rxe.FAR.address)) as process:
        with KeyedAssociation(process.address) as association:
            assert association.control.control(Command.GET_DEVICE_ID) == 2
            assert association.queue.request(IN, room=512)[0] == OK
            place = f"{rxe.FAR.address}:{process.address[1]}"
            process.line(f"transport rdma, .*target {re.escape(place)}")
            process.line("0 ctl   → connect .*dialect v5")
            process.line("0 ctl   ← get_device_id .*ok; block")
            process.line("1 vq0   → vq ")
            process.line("1 vq0   ← vq .*ok")
        process.line(" closed ")
        assert process.stop() == 0


def test_a_device_is_removed(everywhere: TargetProcess, spare: rxe.Port) -> None:
    """Who uses it is ended, and nobody else."""
    port = everywhere.address[1]
    with (
        KeyedAssociation((spare.address, port), BLOCK2),
        KeyedAssociation((rxe.FAR.address, port), BLOCK1) as other,
        Association((rxe.FAR.address, port), BLOCK1) as stream,
    ):
        # Not waited for: it ends when nobody has the device open any more, this process included.
        subprocess.run(["sh", "-c", f"rdma link delete {spare.device} &"], check=True)
        line = everywhere.line("event=device-removed")
        assert f"device={spare.device}" in line
        assert f"{spare.address} is not served until the target is started again" in line
        # The initiator cannot see this: the same device was its own.
        everywhere.line(f"tvqn={BLOCK2} .*event=disconnected")
        assert other.queue.request(IN, room=512)[0] == OK
        assert stream.queue.request(IN, room=512)[0] == OK


def test_it_stops_with_connections(everywhere: TargetProcess) -> None:
    with KeyedAssociation((rxe.FAR.address, everywhere.address[1])) as association:
        everywhere.signal(signal.SIGTERM)
        assert association.is_closed()
        assert everywhere.wait() == 0
    assert sum("event=device-removed" in line for line in everywhere.log) == 1
    assert all(line.startswith("vof-target: ") for line in everywhere.log), everywhere.log
