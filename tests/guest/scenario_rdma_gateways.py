# SPDX-License-Identifier: BSD-3-Clause
"""The gateways over RDMA in a real kernel: disks, random bytes, encryption, and a cable cut.

One target serves every address that has an RDMA device, and TCP. Two nbdkits make disks of two of
its devices: one across the wire, writing to the target's eager buffers, one within a single device,
where the target reads everything itself. What the target has in its images is looked at without
either of them.

A part of `scenario_rdma`, which has set up the devices.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.guest import direct, encryption, nbd, operations, rxe, tree
from tests.guest.ballast import Ballast
from tests.guest.steps import EXCHANGE, Scenario, StepError, expect, patience, run, wait_until
from vof.initiator.parameters import SessionParameters

scenario = Scenario()

_T = TypeVar("_T")

MIB = 1 << 20
CONNECTIONS = 2
PLUGIN = Path("nbdkit-plugin/vof_plugin.py")
FOLDER = Path("/run/rdma-disks")
LOG = EXCHANGE / "rdma-target.log"
REMOTE = Path("/run/rdma-remote")
"""Where vof-mount has the devices that are no disks."""
RNG = "virtio-target/rng/rng0.service"
CRYPTO = "virtio-target/crypto/crypto0.service"
COUNTED = "virtio-target/block/counted.service"

LISTENING = "vof-target: listening on"
"""A disk for nothing but counting what a request takes."""
DIGESTED = b"over RDMA\n"

BRIEF = 2.0
"""Seconds without a cable that a connection survives: it gives up after four at the earliest."""


@dataclass(frozen=True)
class Disk:
    """A device of the target, and the nbdkit that makes a disk of it."""

    name: str
    port: rxe.Port
    eager: str
    device: Path
    size: int = 192 * MIB

    @property
    def image(self) -> Path:
        return FOLDER / f"{self.name}.img"

    @property
    def tvqn(self) -> str:
        return f"virtio-target/block/{self.name}.service"

    @property
    def ivqn(self) -> str:
        return f"vqn.guest:{self.name}"

    @property
    def socket(self) -> Path:
        return FOLDER / f"{self.name}.sock"

    @property
    def pidfile(self) -> Path:
        return FOLDER / f"{self.name}.pid"

    @property
    def mountpoint(self) -> Path:
        return Path("/run/rdma-mnt", self.name)


ACROSS = Disk("across", rxe.FAR, "on", Path("/dev/nbd0"))
WITHIN = Disk("within", rxe.ALONE, "off", Path("/dev/nbd1"))
DISKS = (ACROSS, WITHIN)


class Target:
    process: subprocess.Popen[bytes]
    not_ready: int
    """What `not_ready` said when it was started."""


def log() -> str:
    return LOG.read_text(encoding="utf-8")


def not_ready() -> int:
    """How often any device was sent something that nothing had been posted for."""
    return sum(port.counter("send_rnr_err") for port in (rxe.ALONE, rxe.NEAR, rxe.FAR))


# --- the services


@scenario.step(timeout=120)
def start_rdma_target() -> str:
    """On all addresses, over both transports; what it says of where it listens."""
    run("modprobe", "nbd", "nbds_max=2")
    run("modprobe", "--all", "loop", "fuse")
    FOLDER.mkdir()
    REMOTE.mkdir()
    config = "[target]\ntransport = tcp,rdma\naddress = 0.0.0.0\n"
    images = {disk.tvqn: disk.image for disk in DISKS} | {COUNTED: FOLDER / "counted.img"}
    for tvqn, path in images.items():
        with path.open("wb") as image:
            image.truncate(ACROSS.size)
        config += f"\n[{path.stem}]\ntvqn = {tvqn}\nmodel = block\n"
        config += f"backend = driver=block-posix,path={path},queues=2,serial={path.stem}\n"
    config += f"\n[rng0]\ntvqn = {RNG}\nmodel = rng\nbackend = driver=rng-random\n"
    config += f"\n[crypto0]\ntvqn = {CRYPTO}\nmodel = crypto\nbackend = driver=crypto-openssl\n"
    path = FOLDER / "target.conf"
    path.write_text(config, encoding="utf-8")
    Target.not_ready = not_ready()
    Target.process = scenario.start("rdma-target", "vof-target", "--verbose", path)
    wait_until("the target", lambda: LISTENING in log(), 100)
    return next(line for line in log().splitlines() if line.startswith(LISTENING))


def start_nbdkit(disk: Disk) -> None:
    disk.mountpoint.mkdir(parents=True)
    run(
        *("nbdkit", "--pidfile", disk.pidfile, "--unix", disk.socket, "python", PLUGIN),
        *(f"tvqn={disk.tvqn}", f"taddr={disk.port.address}", "transport=rdma"),
        *(f"ivqn={disk.ivqn}", f"eager={disk.eager}"),
    )
    wait_until(f"{disk.socket}", disk.pidfile.exists, 40)


@scenario.step(needs=("start_rdma_target",), timeout=150)
def start_nbdkits() -> None:
    """Both in the background, as people start them: what they open belongs to the child. Nobody
    knows yet who has which address, as after a boot."""
    for port in (rxe.NEAR, rxe.FAR):
        run("ip", "neighbour", "flush", "dev", port.interface)
    at_once(start_nbdkit)


@scenario.step(timeout=120)
def stage_rdma_tree() -> dict[str, Any]:
    return {"files": tree.stage(), "digest": tree.summary(tree.wanted)}


# --- requests, counted


@scenario.step(needs=("start_rdma_target",), timeout=120)
def count_operations() -> dict[str, Any]:
    def count(request: str, *, eager: bool) -> dict[str, Any]:
        parameters = SessionParameters(
            tvqn=COUNTED, taddr=rxe.FAR.address, transport="rdma", eager=eager
        )
        return operations.per_request(parameters, log, request)

    return {"eager": count("write", eager=True), "keyed": count("write", eager=False)}


# --- disks


def attach(disk: Disk) -> None:
    nbd.attach(disk.device, disk.socket, connections=CONNECTIONS)


def mount(disk: Disk) -> None:
    run("mount", disk.device, disk.mountpoint)


def unmount(disk: Disk) -> None:
    run("umount", disk.mountpoint)


def at_once(action: Callable[[Disk], _T]) -> dict[str, _T]:
    """Two initiators at one target: have both disks used in the same way; what that returned."""
    found: dict[str, _T] = {}
    failures: list[str] = []

    def use(disk: Disk) -> None:
        try:
            found[disk.name] = action(disk)
        except (StepError, OSError) as error:
            failures.append(f"{disk.name}: {error}")

    threads = [threading.Thread(target=use, args=(disk,), daemon=True) for disk in DISKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, "\n".join(failures))
    return found


@scenario.step(needs=("start_nbdkits",), timeout=120)
def attach_disks() -> None:
    for disk in DISKS:
        attach(disk)


@scenario.step(needs=("attach_disks",), timeout=240)
def direct_io() -> dict[str, int]:
    """Sizes of all kinds past the kernel's caches; how many there were."""
    return at_once(lambda disk: direct.odd_sizes(disk.device, disk.image))


def copy(disk: Disk) -> int:
    run("mkfs.ext4", "-q", disk.device)
    mount(disk)
    return tree.copy(disk.mountpoint / "tree")


def check(disk: Disk) -> str:
    """Check it, and look with cold caches; it stays mounted."""
    unmount(disk)
    run("e2fsck", "-f", "-n", disk.device)
    mount(disk)
    return tree.compare(disk.mountpoint / "tree")


@scenario.step(needs=("direct_io", "stage_rdma_tree"), timeout=240)
def copy_trees() -> dict[str, int]:
    return at_once(copy)


@scenario.step(needs=("copy_trees",), timeout=240)
def check_trees() -> dict[str, str]:
    return at_once(check)


# --- files


@scenario.step(needs=("start_rdma_target",), timeout=150)
def mount_remote() -> dict[str, Any]:
    """Random bytes and encryption by vof-mount, and a digest by vofctl."""
    where = (f"taddr={rxe.FAR.address}", "transport=rdma")
    run("vof-mount", "-o", ",".join(where), RNG, CRYPTO, REMOTE)
    with (REMOTE / "rng0/random").open("rb", buffering=0) as file:
        chunks = [file.read(4096) for _ in range(4)]
    found = {
        "lengths": [len(chunk) for chunk in chunks],
        "distinct": len(set(chunks)),
        "encryption": encryption.round_trip(REMOTE / "crypto0"),
    }
    run("umount", REMOTE)
    text = FOLDER / "digested"
    text.write_bytes(DIGESTED)
    options = f"--tvqn {CRYPTO} --taddr {rxe.FAR.address} --transport rdma --algorithm sha256 --hex"
    found["digest"] = run("sh", "-c", f"vofctl crypto digest {options} < {text}").strip()
    return found


@scenario.step(needs=("check_trees",))
def kernel_is_content_over_rdma() -> list[str]:
    """What the kernel has said while nothing was wrong."""
    return nbd.complaints()


@scenario.step(needs=("check_trees",))
def receivers_were_ready() -> int:
    """How often they were not."""
    return not_ready() - Target.not_ready


# --- the cable


@scenario.step(needs=("check_trees",), timeout=180)
def cut_briefly() -> dict[str, Any]:
    """Nobody but the wire notices."""
    ballast = Ballast("brief", ACROSS.mountpoint, ACROSS.device)
    writer = ballast.start()
    rxe.cut()
    expect(writer.poll() is None, "it has written everything already")
    written = nbd.written(ACROSS.device)
    start = time.monotonic()
    time.sleep(BRIEF)  # it is time itself that is asked for
    found: dict[str, Any] = {"during": nbd.written(ACROSS.device) - written}
    rxe.mend()
    found["cut"] = time.monotonic() - start
    output, _ = writer.communicate(timeout=patience(120))
    found |= {"status": writer.returncode, "output": output}
    unmount(ACROSS)
    mount(ACROSS)
    found["same"] = ballast.same()
    return found


@scenario.step(needs=("cut_briefly",), timeout=180)
def cut_for_good() -> dict[str, Any]:
    """The session is lost, and the device fails; what was synced before is not."""
    ballast = Ballast("lost", ACROSS.mountpoint, ACROSS.device)
    writer = ballast.start()
    rxe.cut()
    start = time.monotonic()
    output, _ = writer.communicate(timeout=patience(90))
    found = {"status": writer.returncode, "output": output, "seconds": time.monotonic() - start}
    unmount(ACROSS)
    nbd.detach(ACROSS.device)
    return found


@scenario.step(always=True)
def mend_for_gateways() -> None:
    rxe.mend()


@scenario.step(needs=("cut_for_good", "mend_for_gateways"), timeout=180)
def attach_again() -> dict[str, Any]:
    """The same nbdkit has a new session, and the file system everything."""
    attach(ACROSS)
    mount(ACROSS)  # which makes good by the journal
    brief = Ballast("brief", ACROSS.mountpoint, ACROSS.device)
    found = {"digest": tree.compare(ACROSS.mountpoint / "tree"), "brief": brief.same()}
    unmount(ACROSS)
    run("e2fsck", "-f", "-n", ACROSS.device)
    return found


# --- afterwards


@scenario.step(always=True)
def clean_up() -> None:
    """Detach whatever state earlier steps have left, and end both nbdkits."""
    if REMOTE.is_mount():
        run("umount", "--lazy", REMOTE)
    for disk in DISKS:
        if disk.mountpoint.is_mount():
            unmount(disk)
        if nbd.is_attached(disk.device):
            nbd.detach(disk.device)
        if disk.pidfile.exists():
            run("kill", disk.pidfile.read_text(encoding="ascii").strip())
            wait_until(f"nbdkit of {disk.name} to end", lambda: ended(disk), 30)  # noqa: B023


def ended(disk: Disk) -> bool:
    number = disk.pidfile.read_text(encoding="ascii").strip()
    return not Path("/proc", number).exists()


@scenario.step(needs=("start_nbdkits", "clean_up"))
def what_disks_took() -> dict[str, Any]:
    """What the target posted for each disk's initiator."""
    for disk in DISKS:
        wait_until(disk.name, lambda: operations.of_target(log(), disk.ivqn), 30)  # noqa: B023
    return {disk.name: operations.of_target(log(), disk.ivqn) for disk in DISKS}


@scenario.step(needs=("start_rdma_target", "clean_up"))
def stop_rdma_target() -> dict[str, Any]:
    """What is left of it and of every initiator: nothing, but what the kernel has for itself."""
    Target.process.send_signal(signal.SIGTERM)
    status = Target.process.wait(patience(30))
    owned = [line for line in run("rdma", "resource", "show", "qp").splitlines() if " pid " in line]
    violations = [line for line in log().splitlines() if "event=violation" in line]
    return {"status": status, "violations": violations, "queue_pairs": owned}


def look_into(disk: Disk) -> str:
    """Check a file system in the image itself; the summary of the tree in it."""
    run("e2fsck", "-f", "-n", disk.image)
    run("mount", "-o", "loop,ro,noload", disk.image, disk.mountpoint)
    try:
        return tree.compare(disk.mountpoint / "tree")
    finally:
        unmount(disk)


@scenario.step(needs=("check_trees", "stop_rdma_target"), timeout=120)
def images() -> list[str]:
    return [look_into(disk) for disk in DISKS]
