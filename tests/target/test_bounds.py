# SPDX-License-Identifier: BSD-3-Clause
"""What an initiator can cost: connections, time and memory, each with its bound."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.conftest import Innocent, Log, Serve, address_of, write_config
from tests.target.peer import (
    BLOCK2,
    IN,
    OUT,
    Association,
    Peer,
    connect_bytes,
    header,
    request_bytes,
    vring_bytes,
)
from tests.target.process import TargetProcess
from vof.target.devices.block import LIMITS
from vof.target.tcp.completions import KEPT_RESPONSE

IDLE = 10_000
MIB = 1 << 20


@contextlib.contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """Let this process open ``count`` descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    if soft != resource.RLIM_INFINITY and soft < count:
        raised = hard if hard == resource.RLIM_INFINITY else max(hard, count)
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, raised))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def run_target(folder: Path, **changes: object) -> TargetProcess:
    config = folder / "vtgt.conf"
    config.write_text(write_config(folder, **changes), encoding="utf-8")
    return TargetProcess(config)


def test_ten_thousand_idle_connections(tmp_path: Path) -> None:
    """They cost no thread and little memory, the limit holds, and their time runs out."""
    limit = 200
    with contextlib.ExitStack() as stack:
        stack.enter_context(many_descriptors(IDLE + 500))
        process = stack.enter_context(run_target(tmp_path, connections=limit, handshake_timeout=3))
        innocent = stack.enter_context(Innocent(process.address))
        threads, memory = process.threads(), process.resident()
        silent = [stack.enter_context(Peer(process.address)) for _ in range(IDLE)]
        innocent.check()
        assert process.threads() == threads
        assert process.resident() - memory < 16 * MIB
        # Those beyond the limit were closed at once, which is why they are at the end of the list.
        assert all(peer.is_closed() for peer in silent[limit:])
        line = process.line("event=refused")
        assert f"{limit} connections are the limit" in line
        # The others, when their time was over; then there is room again.
        assert all(peer.is_closed() for peer in silent[:limit])
        process.line("event=handshake-timeout")
        with Peer(process.address) as peer:
            assert peer.connect() == 2
        innocent.check()
        # The thread of the connection before this line may be about to end.
        assert process.threads() <= threads + 1
        assert process.stop() == 0


@pytest.mark.parametrize("sent", [0, 1, 16, 1063])
def test_the_handshake_deadline(serve: Serve, log: Log, sent: int) -> None:
    where = address_of(serve(handshake_timeout=1))
    with Peer(where) as served:
        served.connect()
        begin = time.monotonic()
        with Peer(where) as peer:
            if sent:
                peer.send(connect_bytes()[:sent])
            assert peer.is_closed()
        assert time.monotonic() - begin >= 0.99
        # A connection that has had its Connect in time has all the time in the world.
        assert served.control(0x1001) == 2
    assert len(log.lines("handshake-timeout")) == 1


def test_refused_connects_do_not_buy_time(serve: Serve, log: Log) -> None:
    where = address_of(serve(handshake_timeout=1))
    with Peer(where) as peer:
        peer.send(connect_bytes(tvqn="no/such/device"))
        assert peer.completion().status == 19
        assert peer.is_closed()
    assert len(log.lines("handshake-timeout")) == 1


def bound(threads: int) -> int:
    """The memory a connection may cost, as vof-target(8) says it, and some for the allocator."""
    kept = threads * KEPT_RESPONSE + (256 << 10)
    return (threads + 1) * LIMITS.max_transfer + kept + 8 * MIB


def manual_bound() -> str:
    page = Path(__file__, "../../../man/vof-target.8").resolve().read_text(encoding="utf-8")
    found = re.search(r"([0-9.]+) MiB for each of", page)
    assert found
    return found[1]


def test_the_manual_states_the_bound() -> None:
    assert manual_bound() == f"{LIMITS.max_transfer / MIB:.1f}"


@pytest.mark.parametrize("threads", [1, 3])
def test_an_initiator_that_never_reads(tmp_path: Path, threads: int) -> None:
    with (
        run_target(tmp_path, threads=threads, send_timeout=1) as process,
        Innocent(process.address) as innocent,
    ):
        with Association(process.address, BLOCK2, queues=0) as association:
            deaf = association.adopt(Peer(process.address, receive_buffer=4096))
            assert deaf.connect(association.target_id, 0, tvqn=BLOCK2) == association.target_id
            memory = process.resident()
            for ident in range(12):
                deaf.send(request_bytes(IN, room=LIMITS.max_transfer - 4096, command_id=ident))
            innocent.check()
            line = process.line("event=stalled")
            assert f"tvqn={BLOCK2}" in line
            assert 'reason="the initiator took no data for 1 s"' in line
            assert association.control.is_closed()
            assert process.resident() - memory < bound(threads)
        innocent.check()
        assert process.stop() == 0
        assert len([line for line in process.log if "event=stalled" in line]) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_payloads_that_never_end(tmp_path: Path, threads: int) -> None:
    """Large writes as fast as they go, and one that stops before its last byte."""
    with run_target(tmp_path, threads=threads) as process:
        with Association(process.address, BLOCK2) as association:
            memory = process.resident()
            size = LIMITS.max_transfer - 4096
            payload = header(OUT) + bytes(size)
            for ident in range(6):
                association.queue.send(
                    vring_bytes([(16, 0, 0), (size, 1, 0), (1, 2, 2)], payload, command_id=ident)
                )
            for _ident in range(6):
                assert association.queue.completion().status == 0
                association.queue.receive(25)
            association.queue.send(
                vring_bytes([(16, 0, 0), (size, 1, 0), (1, 2, 2)], payload[:-1], command_id=7)
            )
            association.queue.half_close()
            assert association.queue.is_closed()
            # The disk is in memory too: what was written to it has to be there.
            assert process.resident() - memory < bound(threads) + size
            assert association.control.control(0x1001) == 2
        assert process.stop() == 0


def test_connections_that_end_leave_nothing_behind(tmp_path: Path) -> None:
    with run_target(tmp_path) as process:
        descriptors = Path(f"/proc/{process.pid}/fd")
        with Association(process.address, queues=1):
            pass
        with Peer(process.address) as peer:
            peer.send(b"GET / HTTP/1.1\r\n\r\n")
            assert peer.is_closed()
        with Association(process.address, queues=0) as association:
            threads = process.threads()
            count = len(list(descriptors.iterdir()))
            for _ in range(200):
                with Peer(process.address) as peer:
                    peer.connect(association.target_id, 0)
                    peer.half_close()
                    assert peer.is_closed()
            # The last ones' threads may be about to end.
            assert process.threads() <= threads + 10
            assert len(list(descriptors.iterdir())) <= count + 10
        assert process.stop() == 0


def limited(tmp_path: Path, descriptors: int, **changes: object) -> TargetProcess:
    """Return a target that may have so many descriptors."""
    config = tmp_path / "vtgt.conf"
    text = write_config(tmp_path, **changes).replace("port = 0", "port = 0, 0")
    config.write_text(text, encoding="utf-8")
    return TargetProcess(config, launcher=("prlimit", f"--nofile={descriptors}:{descriptors}"))


def test_fewer_descriptors_than_connections_want(tmp_path: Path) -> None:
    """Said at the start; those beyond are refused at once, those that are served do not notice."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(limited(tmp_path, 64, handshake_timeout=60))
        few = r"serves=(\d+) connections=1024 limit=64 event=few-descriptors .* to (\d+) "
        found = re.search(few, "\n".join(process.log)) or re.search(few, process.line(few))
        assert found
        serves = int(found[1])
        assert int(found[2]) == 64 + 2 * (1024 - serves)
        innocent = stack.enter_context(Innocent(process.address))
        association = stack.enter_context(Association(process.address, queues=1))
        for _ in range(serves - 7):
            stack.enter_context(Peer(process.address))
        for address in process.addresses:
            with Peer(address) as peer:
                assert peer.is_closed()
        assert f"{serves} connections are the limit" in process.line("event=refused")
        # A virtqueue's Connect does not wait either.
        with pytest.raises((ConnectionError, EOFError)):
            association.add_queue(1)
        assert association.control.control(0x1001) == 2
        innocent.check()
        assert process.stop() == 0
        assert len([line for line in process.log if "event=refused" in line]) == 1


def test_descriptors_that_others_have_taken(tmp_path: Path) -> None:
    """More than the target had reason to expect: it refuses all the same."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(limited(tmp_path, 1024, handshake_timeout=60))
        innocent = stack.enter_context(Innocent(process.address))
        count = max(int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()) + 1
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (count, 1024))
        for address in process.addresses * 2:
            with Peer(address) as peer:
                assert peer.is_closed()
        assert f"this program may have {count}; raise" in process.line("event=refused")
        innocent.check()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        with Peer(process.address) as peer:
            assert peer.connect() == 2
        assert process.stop() == 0
        assert len([line for line in process.log if "event=refused" in line]) == 1


def test_no_descriptor_even_to_refuse_with(tmp_path: Path) -> None:
    """Connections wait, at every port, until there are some again."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(limited(tmp_path, 1024, handshake_timeout=60))
        innocent = stack.enter_context(Innocent(process.address))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, 1024))
        waiting = [stack.enter_context(Peer(address)) for address in process.addresses]
        process.line("event=accept-paused")
        innocent.check()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        assert {peer.connect() for peer in waiting} == {2, 3}
        assert process.stop() == 0


def test_dead_peers_are_looked_for() -> None:
    """Keep-alive is on and Nagle's delay off, on the target's end of every connection."""
    from vof.target.tcp.acceptor import prepare

    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sock:
            prepare(sock)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
