# SPDX-License-Identifier: BSD-3-Clause
"""The sides: programs that serve one image, each reached by its load generator.

    vof plain     fio → nbdkit python vof_plugin.py → vof-target
    vof fast      fio → nbdkit --filter=… python vof_plugin.py → vof-target
    vof python    as vof plain, the data path forced to be Python
    nbdkit nbd    fio → nbdkit nbd → nbdkit file
    nbdkit file   fio → nbdkit file
    qemu-nbd      fio → qemu-nbd
    fabric        our engine → vof-target
    fabric python as fabric, the data path forced to be Python
    tgt           iscsi-perf → tgtd

fio reaches a gateway through a unix socket; everything else is TCP on loopback. All serve the same
file, whose pages are in memory and are nobody's own. A side that cannot be had is Unavailable.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

from tests.bench import accounting, load_generators
from tests.bench.load_generators import IMAGE_SIZE, Load, Workload
from tests.bench.pinning import Cpus
from tests.bench.processes import (
    Served,
    Unavailable,
    output_of,
    service,
    target,
    wait_for,
    wait_until,
)
from tests.bench.rows import Measure

PLUGIN = Path(__file__).resolve().parents[2] / "nbdkit-plugin" / "vof_plugin.py"
TVQN = "virtio-target/block/bench0.service"
IQN = "iqn.2026-01.vof:bench"
FORCED_PYTHON = {"VOF_FABRIC": "python"}

MakeLoad = Callable[[Workload, int], Callable[[float], Load]]
"""Given a workload and how many initiators do it at once."""


class Side(NamedTuple):
    programs: Mapping[str, int]
    """Process ids by what the program is called."""
    load: MakeLoad

    def measure(self, workload: Workload, initiators: int = 1) -> Measure:
        load = self.load(workload, initiators)
        return load_generators.measure(workload, self.programs.values(), load)


@dataclass
class Setting:
    """What sides are made in; they last as long as ``stack``."""

    work: Path
    image: Path
    cpus: Cpus
    wanted: frozenset[str]
    """Columns that somebody wants to see."""
    stack: contextlib.ExitStack
    programs: dict[str, int] = field(default_factory=dict)
    """All programs so far, for the table of memory."""
    notes: list[str] = field(default_factory=list)
    _target: Served | None = None
    _file_port: str = ""

    def side(self, column: str, make: Callable[[Setting], Side]) -> dict[str, Side]:
        """Return the side by its column, or nothing if it is not wanted or, with a note, cannot
        be had."""
        if column not in self.wanted:
            return {}
        try:
            side = make(self)
        except Unavailable as reason:
            self.notes.append(f"no column {column}: {reason}")
            return {}
        self.programs.update(side.programs)
        return {column: side}

    def peak_memory(self) -> dict[str, int]:
        """Return the peak bytes of every program that still runs."""
        found = {}
        for program, pid in self.programs.items():
            with contextlib.suppress(Unavailable):
                found[program] = accounting.peak_memory(pid)
        return found

    def target(self) -> Served:
        """Start the target of ours, if that has not been done yet."""
        if self._target is None:
            served = target(self.work, "target", devices(self.image), self.cpus.target)
            self._target = self.stack.enter_context(served)
            self.programs["vof-target"] = self._target.pid
        return self._target

    def nbdkit(
        self,
        name: str,
        cpus: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start an nbdkit; return its process id once it serves."""
        pidfile, log = self.work / f"{name}.pid", self.work / f"{name}.log"
        command = ["nbdkit", "-f", "-P", str(pidfile), *arguments]
        running = service(*command, log=log, cpus=cpus, environment=environment)
        process = self.stack.enter_context(running)
        wait_for(process, log, r"(\d+)\n", pidfile)
        return process.pid

    def file_server(self) -> str:
        """Start the nbdkit that serves the image, if that has not been done yet; return its
        port."""
        if not self._file_port:
            port = str(free_port())
            arguments = ("-i", "127.0.0.1", "-p", port, "file", str(self.image))
            self.programs["nbdkit file"] = self.nbdkit("file", self.cpus.target, *arguments)
            self._file_port = port
        return self._file_port


@contextlib.contextmanager
def image(work: Path) -> Iterator[Path]:
    """Make the image all sides serve, in a file system of memory where there is room.

    A page cache is not enough: pages of a disk's file are written back, and a kernel that reclaims
    early takes those away again that nobody asked for of late.
    """
    memory = Path("/dev/shm")
    name = f"vof-bench-{os.getpid()}.img"
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * IMAGE_SIZE
    path = (memory if roomy else work) / name
    try:
        with path.open("wb") as file:
            for _chunk in range(IMAGE_SIZE >> 20):
                file.write(os.urandom(1 << 20))
        yield path
    finally:
        path.unlink(missing_ok=True)


def devices(path: Path) -> str:
    """Return the configuration of a target that has the image."""
    backend = f"driver=block-posix,path={path},queues=4"
    return f"[bench0]\ntvqn = {TVQN}\nmodel = block\nbackend = {backend}\n"


def plugin(
    setting: Setting,
    name: str,
    *,
    fast: bool = False,
    queues: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Side:
    served = setting.target()
    sock = setting.work / f"{name}.sock"
    arguments = ["-U", str(sock)]
    if fast:
        arguments.append(f"--filter={filter_path()}")
    arguments += ["python", str(PLUGIN), f"tvqn={TVQN}", f"tport={served.port}"]
    if queues is not None:
        arguments.append(f"queues={queues}")
    pid = setting.nbdkit(name, setting.cpus.initiator, *arguments, environment=environment)
    programs = {"vof-target": served.pid, f"nbdkit with vof_plugin.py ({name})": pid}
    return Side(programs, _fio(setting, f"nbd+unix:///?socket={sock}"))


def filter_path() -> str:
    """Return where the filter of the fast path is. Raises Unavailable."""
    path = output_of(["vofctl", "filter", "path"]).strip()
    if not Path(path).is_file():
        raise Unavailable(f"`vofctl filter path` names {path!r}, where there is no file")
    return path


def nbdkit_nbd(setting: Setting) -> Side:
    port = setting.file_server()
    sock = setting.work / "proxy.sock"
    arguments = ("-U", str(sock), "nbd", "hostname=127.0.0.1", f"port={port}")
    pid = setting.nbdkit("proxy", setting.cpus.initiator, *arguments)
    programs = {"nbdkit file": setting.programs["nbdkit file"], "nbdkit nbd": pid}
    return Side(programs, _fio(setting, f"nbd+unix:///?socket={sock}"))


def nbdkit_file(setting: Setting) -> Side:
    port = setting.file_server()
    programs = {"nbdkit file": setting.programs["nbdkit file"]}
    return Side(programs, _fio(setting, f"nbd://127.0.0.1:{port}"))


def qemu_nbd(setting: Setting) -> Side:
    log, port = setting.work / "qemu.log", free_port()
    options = ("-f", "raw", "-t", "--shared=0", "--cache=writeback", "--aio=threads")
    command = ("qemu-nbd", *options, "-b", "127.0.0.1", "-p", str(port), str(setting.image))
    running = service(*command, log=log, cpus=setting.cpus.target)
    process = setting.stack.enter_context(running)
    wait_until(process, log, partial(listening, port))
    return Side({"qemu-nbd": process.pid}, _fio(setting, f"nbd://127.0.0.1:{port}"))


def fabric(
    setting: Setting, *, queues: int = 1, environment: Mapping[str, str] | None = None
) -> Side:
    served = setting.target()

    def load(workload: Workload, initiators: int) -> Callable[[float], Load]:
        return load_generators.fabric(
            served.port,
            TVQN,
            workload,
            setting.cpus.initiator,
            initiators=initiators,
            queues=queues,
            environment=environment,
        )

    return Side({"vof-target": served.pid}, load)


def tgt(setting: Setting) -> Side:
    log, port = setting.work / "tgtd.log", free_port()
    # Its number names the socket it is administered by, which is ours alone.
    number, sock = "1", setting.work / "tgtd.ipc"
    environment = {"TGT_IPC_SOCKET": str(sock)}
    command = ("tgtd", "-f", "-C", number, "--iscsi", f"portal=127.0.0.1:{port}")
    # It does not end on SIGTERM while it has targets.
    running = service(
        *command, log=log, cpus=setting.cpus.target, environment=environment, last_signal=SIGKILL
    )
    process = setting.stack.enter_context(running)
    wait_until(process, log, partial(listening, port))
    administer = ("tgtadm", "-C", number, "--lld", "iscsi", "--tid", "1", "--mode")
    for words in (
        ("target", "--op", "new", "-T", IQN),
        ("logicalunit", "--op", "new", "--lun", "1", "--bstype", "rdwr", "-b", str(setting.image)),
        ("target", "--op", "bind", "-I", "ALL"),
    ):
        output_of([*administer, *words], environment=environment)
    url = f"iscsi://127.0.0.1:{port}/{IQN}/1"

    def load(workload: Workload, initiators: int) -> Callable[[float], Load]:
        return load_generators.iscsi_perf(url, workload, setting.cpus.initiator, initiators)

    return Side({"tgtd": process.pid}, load)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool | None:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return None


def _fio(setting: Setting, uri: str) -> MakeLoad:
    def load(workload: Workload, initiators: int) -> Callable[[float], Load]:
        return load_generators.fio(uri, workload, setting.cpus.initiator, initiators)

    return load
