# SPDX-License-Identifier: BSD-3-Clause
"""``random`` on a real mount: readers of every kind, sources of every kind."""

from __future__ import annotations

import errno
import mmap
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.fuse.conftest import MakeMount
from tests.fuse.mounting import Mount, alive, eventually
from tests.support.loopback import Background
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng
from tests.support.scripted_target import Hold
from tests.target.process import TargetProcess

pytestmark = pytest.mark.fuse


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def read_fully(fd: int, size: int) -> bytes:
    """Read all of ``size``: on a busy machine a read may be short."""
    data = b""
    while len(data) < size:
        part = os.read(fd, size - len(data))
        assert part
        data += part
    return data


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


class Held:
    """A mounted rng that answers only what the test lets it: ``give`` completes a request."""

    def __init__(self, mount: MakeMount, **options: object) -> None:
        self._hold = Hold()
        self._started = False
        self.target = ScriptedRng(None, lambda command: self._started and self._hold(command))
        self.mounted: Mount = mount(RNG_TVQN, tport=self.target.port, **options)
        eventually(self._healthy, "the start-up test")
        self._started = True
        # What that left over goes first.
        with opened(self.path, os.O_RDONLY | os.O_NONBLOCK) as fd:
            while len(os.read(fd, 4096)) == 4096:
                pass

    @property
    def path(self) -> Path:
        return self.mounted / "rng0/random"

    def give(self, size: int | None = None) -> None:
        (command,) = self._hold.take(1)
        wanted = command.writable[0].length
        command.complete(self.target.source(wanted if size is None else min(size, wanted)))

    def _healthy(self) -> bool:
        return self.mounted.info("rng0")["health"] == "passed"


@pytest.fixture
def held(mount: MakeMount) -> Iterator[Held]:
    rng = Held(mount)
    yield rng
    rng.target.stop()


def test_any_size_at_any_place(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    seen = set()
    with opened(mounted / "rng0/random") as fd:
        assert os.read(fd, 0) == b""
        for size in (1, 7, 100, 4096, 65_537, 1 << 20):
            assert len(read_fully(fd, size)) == size
        for place in (0, 1, 12345, 1 << 40, (1 << 62)):
            data = os.pread(fd, 32, place)
            assert len(data) == 32
            seen.add(data)
        assert os.lseek(fd, 100, os.SEEK_SET) == 100
        assert len(os.read(fd, 10)) == 10
    assert len(seen) == 5


def test_every_byte_is_given_once(mount: MakeMount) -> None:
    """Several readers at once get all there is, and nothing twice."""
    stream = bytearray()

    def source(size: int) -> bytes:
        data = numbers.randbytes(size)
        stream.extend(data)
        return data

    numbers = random.Random(4)
    with ScriptedRng(source=source) as target:
        mounted = mount(RNG_TVQN, tport=target.port)

        def read() -> list[bytes]:
            with opened(mounted / "rng0/random") as fd:
                return [read_fully(fd, 1024) for _ in range(50)]

        readers = [Background(read) for _ in range(4)]
        chunks = [chunk for reader in readers for chunk in reader.result()]
    # The readers' pieces are those of the stream, in some order.
    assert sum(map(len, chunks)) == 200 * 1024
    words = [chunk[place : place + 64] for chunk in chunks for place in range(0, 1024, 64)]
    given = [bytes(stream[place : place + 64]) for place in range(0, 200 * 1024, 64)]
    assert sorted(words) == sorted(given)


def test_sixty_four_processes(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    readers = [
        subprocess.Popen(
            ["dd", f"if={mounted.path}/rng0/random", "bs=10000", "count=20", "iflag=fullblock"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(64)
    ]
    found = [reader.communicate(timeout=60)[0] for reader in readers]
    assert {len(data) for data in found} == {200_000}
    assert len({data[:1000] for data in found}) == 64
    assert int(mounted.info("rng0")["bytes_delivered"]) == 64 * 200_000


def test_writing_is_refused(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    with refused(errno.EACCES):
        os.open(mounted / "rng0/random", os.O_WRONLY)


def test_what_reads_by_the_page_is_refused(mount: MakeMount, rng: ScriptedRng) -> None:
    """Two who map the file would see the same bytes."""
    mounted = mount(RNG_TVQN, tport=rng.port)
    with opened(mounted / "rng0/random") as fd, refused(errno.ENODEV):
        mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    touch = "import mmap, sys; mmap.mmap(0, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)[0]"
    with opened(mounted / "rng0/random") as fd:
        run = subprocess.run([sys.executable, "-c", touch], stdin=fd, timeout=30, check=False)
    assert run.returncode == -signal.SIGBUS


def test_who_takes_all_of_a_file_comes_to_an_end(
    mount: MakeMount, rng: ScriptedRng, tmp_path: Path
) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    path = mounted / "rng0/random"
    assert path.stat().st_size == 4096
    commands: Sequence[Sequence[str | Path]] = [
        ["openssl", "rand", "-rand", path, "16"],
        ["dd", f"if={path}", f"of={tmp_path}/dd", "bs=100k", "count=3", "iflag=fullblock"],
    ]
    for command in commands:
        subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert (tmp_path / "dd").stat().st_size == 300 << 10


def test_something_now_rather_than_all_later(held: Held) -> None:
    with opened(held.path) as fd:
        reader = Background(os.read, fd, 100_000)
        held.give(123)
        assert len(reader.result()) == 123


def test_not_waiting(held: Held) -> None:
    with opened(held.path, os.O_RDONLY | os.O_NONBLOCK) as fd:
        with refused(errno.EAGAIN):
            os.read(fd, 10)
        held.give(6)
        eventually(lambda: bool(select.select([fd], [], [], 0)[0]), "something to read")
        assert len(os.read(fd, 10)) == 6
        with refused(errno.EAGAIN):
            os.read(fd, 10)


def test_not_waiting_any_more(held: Held) -> None:
    """O_NONBLOCK may come and go while the file is open."""
    with opened(held.path) as fd:
        os.set_blocking(fd, False)
        with refused(errno.EAGAIN):
            os.read(fd, 10)
        os.set_blocking(fd, True)
        reading = Background(os.read, fd, 10)
        held.give()
        assert len(reading.result()) == 10


def test_poll(held: Held) -> None:
    """Not ready while there is nothing; woken when there is."""
    with opened(held.path, os.O_RDONLY | os.O_NONBLOCK) as fd:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        assert poller.poll(0) == []
        waiting = Background(poller.poll, 20_000)
        time.sleep(0.05)
        assert waiting.running
        held.give()
        assert waiting.result() == [(fd, select.POLLIN)]
        assert os.read(fd, 10)
        epoll = select.epoll()
        epoll.register(fd, select.EPOLLIN)
        assert epoll.poll(5) == [(fd, select.EPOLLIN)]
        epoll.close()


def test_poll_of_other_files(held: Held) -> None:
    with opened(held.mounted / "rng0/info") as fd:
        assert select.select([fd], [fd], [], 5)[:2] == ([fd], [fd])


def test_the_wait_is_bounded(mount: MakeMount) -> None:
    """Silence ends in an error for the reader. A device that is merely slow stays, and what comes
    late is for the next."""
    held = Held(mount, timeout=0.2)
    with opened(held.path) as fd:
        with refused(errno.EIO):
            os.read(fd, 10)
        held.give()
        assert len(os.read(fd, 10)) == 10
    assert held.mounted.info("rng0")["state"] == "ready"
    held.target.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_reader_can_be_stopped(held: Held, number: signal.Signals) -> None:
    """Long before its time is over, and whoever opened the file."""
    with opened(held.path) as fd:
        reader = subprocess.Popen(["head", "-c1"], stdin=fd, stdout=subprocess.DEVNULL)
    held._hold.take(1)
    reader.send_signal(number)
    assert reader.wait(20) == -number
    assert held.mounted.info("rng0")["state"] == "ready"


def test_a_killed_process_takes_its_wait_along(held: Held) -> None:
    """Other readers are served as before."""
    reader = subprocess.Popen(["head", "-c1", held.path], stdout=subprocess.DEVNULL)
    (command,) = held._hold.take(1)
    reader.kill()
    reader.wait(20)
    with opened(held.path) as fd:
        other = Background(os.read, fd, 10)
        command.complete(held.target.source(command.writable[0].length))
        assert len(other.result()) == 10


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (bytes, "repetition count: byte 0x00 came 21 times in a row (at byte 0)"),
        (lambda size: b"\xff\xff\xff\x01" * (size // 4), "adaptive proportion: byte 0xff came"),
    ],
    ids=["constant", "two values"],
)
def test_a_source_that_has_failed(mount: MakeMount, source: object, words: str) -> None:
    with ScriptedRng(source=source) as target:  # type: ignore[arg-type]
        mounted = mount(RNG_TVQN, tport=target.port)
        with opened(mounted / "rng0/random") as fd:
            for _ in range(3):
                with refused(errno.EIO):
                    os.read(fd, 10)
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            assert poller.poll(0) == [(fd, select.POLLIN | select.POLLERR)]
        info = mounted.info("rng0")
        assert info["health"].startswith("failed: ")
        assert words in info["health"]
        assert (info["state"], info["bytes_delivered"]) == ("ready", "0")


def test_a_source_that_fails_later(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    with opened(mounted / "rng0/random") as fd:
        assert len(read_fully(fd, 100_000)) == 100_000
        rng.source = bytes
        with refused(errno.EIO):
            for _ in range(100):
                os.read(fd, 100_000)
    assert mounted.info("rng0")["health"].startswith("failed: repetition count")


def test_the_reference_targets_simulator(mount: MakeMount) -> None:
    """The alphabet is no random source, but it is not stuck either: the tests let it pass."""
    alphabet = bytes(range(ord("a"), ord("z") + 1))

    def source(size: int) -> bytes:
        return (alphabet * (size // 26 + 1))[:size]

    with ScriptedRng(source=source) as target:
        mounted = mount(RNG_TVQN, tport=target.port)
        with opened(mounted / "rng0/random") as fd:
            for _ in range(50):
                assert set(os.read(fd, 10_000)) <= set(alphabet)
        assert mounted.info("rng0")["health"] == "passed"


def test_a_device_that_gives_nothing(mount: MakeMount) -> None:
    with ScriptedRng(source=lambda _size: b"") as target:
        mounted = mount(RNG_TVQN, tport=target.port)
        with opened(mounted / "rng0/random") as fd, refused(errno.EIO):
            os.read(fd, 10)
        assert mounted.info("rng0")["health"].startswith("start-up test: 0 of 1024 bytes")


def test_the_mount_goes_while_readers_wait(held: Held) -> None:
    """Nobody is left hanging."""
    readers = [
        subprocess.Popen(
            ["head", "-c1", held.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(8)
    ]
    held._hold.take(1)
    os.kill(held.mounted.pid, signal.SIGTERM)
    for reader in readers:
        assert reader.wait(20) == 1
    eventually(lambda: not alive(held.mounted.pid), "the end of vof-mount")


REAL = """
[target]
port = 0

[fast]
tvqn = real/fast.service
model = rng
backend = driver=rng-random

[slow]
tvqn = real/slow.service
model = rng
backend = driver=rng-random,bytes=1000,period=100

[alphabet]
tvqn = real/alphabet.service
model = rng
backend = driver=rng-simulator
"""


def test_our_own_target(mount: MakeMount, tmp_path: Path) -> None:
    """All of its generators, one of them at a limited rate."""
    config = tmp_path / "target.conf"
    config.write_text(REAL, encoding="utf-8")
    with TargetProcess(config) as process:
        names = ("fast", "slow", "alphabet")
        mounted = mount(*(f"real/{name}.service" for name in names), tport=process.address[1])
        fast, slow, alphabet = (mounted / f"{name}/random" for name in names)
        with opened(fast) as fd:
            data = read_fully(fd, 4 << 20)
        assert all(data.count(byte) > len(data) // 300 for byte in range(256))
        # Fewer at a time than the start-up test takes.
        small = subprocess.run(["head", "-c32", slow], capture_output=True, timeout=30, check=True)
        assert len(small.stdout) == 32
        with opened(slow) as fd:
            began = time.monotonic()
            found = 0
            while found < 8000:
                found += len(os.read(fd, 8000 - found))
            assert time.monotonic() - began > 0.5
        with opened(alphabet) as fd:
            assert os.read(fd, 10_000).isalpha()
        assert {mounted.info(name)["health"] for name in names} == {"passed"}
