# SPDX-License-Identifier: BSD-3-Clause
"""Remote devices as files of a real kernel: its random pool, fstab, loop devices, a lost target.

The target, vof-mount and everything that uses the files run in the one guest. What became of the
bytes is asked of somebody else each time: the kernel is watched while rngd feeds it, the file
system is looked for in the target's own image, and openssl does the encryption again.
"""

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.guest import encryption
from tests.guest.steps import EXCHANGE, Scenario, StepError, expect, patience, run, wait_until

scenario = Scenario()

MIB = 1 << 20
FOLDER = Path("/run/target")
IMAGE = FOLDER / "block0.img"
IMAGE_SIZE = 16 * MIB
"""Small, since a loop device writes to a file system in user space page by page."""
RNG = "virtio-target/rng/rng0.service"
CRYPTO = "virtio-target/crypto/crypto0.service"
BLOCK = "virtio-target/block/block0.service"

REMOTE = Path("/run/remote-rng")
RANDOM = REMOTE / "rng0" / "random"
BY_FSTAB = Path("/run/by-fstab")
INNER = Path("/run/inner")
"""Where the file system in the remote disk is mounted."""

SYSLOG = EXCHANGE / "syslog.log"
TRACING = Path("/run/tracing")
RNDADDENTROPY = 0x40085203

CONFIG = f"""\
[rng0]
tvqn = {RNG}
model = rng
backend = driver=rng-random

[crypto0]
tvqn = {CRYPTO}
model = crypto
backend = driver=crypto-openssl

[block0]
tvqn = {BLOCK}
model = block
backend = driver=block-posix,path={IMAGE},queues=2
"""


# --- what every step may ask


def info(folder: Path) -> dict[str, str]:
    """What the file `info` of a device's folder says."""
    lines = (folder / "info").read_text(encoding="utf-8").splitlines()
    return {key: value for key, _, value in (line.partition(": ") for line in lines)}


def processes(mountpoint: Path) -> list[int]:
    """Those that hold the mountpoint as an argument: the vof-mount that serves it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(mountpoint) in words:
            found.append(int(path.parent.name))
    return found


def unmount(mountpoint: Path) -> float:
    """Unmount and wait until the process is gone as well; the seconds that took."""
    start = time.monotonic()
    run("umount", mountpoint)
    wait_until(f"the process of {mountpoint} to end", lambda: not processes(mountpoint))
    return round(time.monotonic() - start, 3)


def timed_error(action: Callable[[], object]) -> dict[str, Any]:
    """The name of the errno with which the action fails, None if it does not; and the seconds."""
    start = time.monotonic()
    name = None
    try:
        action()
    except OSError as error:
        name = errno.errorcode[error.errno or 0]
    return {"error": name, "seconds": round(time.monotonic() - start, 3)}


# --- the services


@scenario.step()
def prepare() -> None:
    """Modules, folders, and the system's log, which in the background is the only one there is."""
    for module in ("fuse", "loop"):
        run("modprobe", module)
    for folder in (FOLDER, REMOTE, BY_FSTAB, INNER, TRACING):
        folder.mkdir()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("/dev/log")
    Path("/dev/log").chmod(0o666)
    SYSLOG.touch()

    def collect() -> None:
        with SYSLOG.open("a", encoding="utf-8", buffering=1) as log:
            while True:
                words = listener.recv(8192).decode(errors="replace")
                log.write(words.rstrip("\0\n") + "\n")

    threading.Thread(target=collect, daemon=True).start()


class Target:
    process: subprocess.Popen[bytes]


@scenario.step(needs=("prepare",), timeout=120)
def start_target() -> None:
    with IMAGE.open("wb") as image:
        image.truncate(IMAGE_SIZE)
    config = FOLDER / "target.conf"
    config.write_text(CONFIG, encoding="utf-8")
    Target.process = scenario.start("vof-target", "vof-target", config)
    log = EXCHANGE / "vof-target.log"
    wait_until("the target", lambda: "vof-target: listening on" in log.read_text("utf-8"), 90)


# --- random bytes


@scenario.step(needs=("start_target",), timeout=150)
def mount_random() -> dict[str, Any]:
    """Usable as soon as vof-mount returns: nothing here waits."""
    run("vof-mount", RNG, REMOTE)
    with RANDOM.open("rb", buffering=0) as file:
        chunks = [file.read(4096) for _ in range(4)]
    return {
        "entries": sorted(map(str, (path.relative_to(REMOTE) for path in walk(REMOTE)))),
        "lengths": [len(chunk) for chunk in chunks],
        "distinct": len(set(chunks)),
        "type": run("findmnt", "-n", "-o", "FSTYPE", REMOTE).strip(),
        "info": info(REMOTE / "rng0"),
    }


def walk(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class Watch:
    """The kernel's own view of who feeds its random pool, by a probe in random_ioctl().

    An ioctl that succeeds leaves the kernel with the bytes mixed in and credited; there is nothing
    else to be seen of it since entropy_avail is constant.
    """

    def __enter__(self) -> "Watch":
        run("mount", "-t", "tracefs", "tracefs", TRACING)
        events = TRACING / "kprobe_events"
        events.write_text(
            "p:vof/feed random_ioctl command=%si:x32 bits=+u0(%dx):s32 size=+u4(%dx):s32\n"
            "r:vof/fed random_ioctl result=$retval:s64\n",
            encoding="ascii",
        )
        (TRACING / "events/vof/enable").write_text("1", encoding="ascii")
        return self

    def __exit__(self, *_: object) -> None:
        (TRACING / "events/vof/enable").write_text("0", encoding="ascii")
        (TRACING / "kprobe_events").write_text("", encoding="ascii")
        run("umount", TRACING)

    def seen(self, process: str) -> dict[str, int]:
        """What the process gave to the kernel and got credited, so far."""
        total = {"times": 0, "bytes": 0, "bits": 0, "refused": 0}
        pending: dict[str, dict[str, int]] = {}
        for line in (TRACING / "trace").read_text(encoding="utf-8").splitlines():
            who, _, what = line.strip().partition(" ")
            if not who.startswith(f"{process}-"):
                continue
            values = dict(word.split("=", 1) for word in what.split() if "=" in word)
            if "command" in values:
                if int(values["command"], 16) == RNDADDENTROPY:
                    pending[who] = {"bytes": int(values["size"]), "bits": int(values["bits"])}
            elif "result" in values and (given := pending.pop(who, None)):
                if int(values["result"]):
                    total["refused"] += 1
                    continue
                total["times"] += 1
                total["bytes"] += given["bytes"]
                total["bits"] += given["bits"]
        return total


def rngd_statistics(text: str) -> dict[str, int]:
    """The counters in what rngd has logged, each as it was last."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition("stats: ")[2].partition(": ")
        if "stats: " in line and value.isdecimal():
            found[name] = int(value)
    return found


@scenario.step(needs=("mount_random",), timeout=60)
def feed_by_rngd() -> dict[str, Any]:
    """rngd as vof-mount(1) has it: a daemon whose only option besides is how often it feeds.

    Since Linux 5.18 the kernel never says that it wants entropy, so rngd does not feed but at its
    intervals, and the ordinary one is a minute.
    """
    before = int(info(REMOTE / "rng0")["bytes_delivered"])
    pidfile = Path("/run/rngd.pid")
    with Watch() as watch:
        run("rngd", "-r", RANDOM, "-t", "1", "-p", pidfile)
        wait_until("rngd to feed the kernel", lambda: watch.seen("rngd")["times"] >= 2, 30)
        # Not before: until it is a daemon the file may name a process that is none.
        number = int(pidfile.read_text(encoding="ascii"))
        os.kill(number, signal.SIGUSR1)
        wait_until("rngd's statistics", lambda: rngd_statistics(SYSLOG.read_text("utf-8")))
        os.kill(number, signal.SIGTERM)
        wait_until("rngd to end", lambda: not Path(f"/proc/{number}").exists())
        seen = watch.seen("rngd")
    after = info(REMOTE / "rng0")
    return {
        "kernel": seen,
        "statistics": rngd_statistics(SYSLOG.read_text(encoding="utf-8")),
        "delivered": int(after["bytes_delivered"]) - before,
        "health": after["health"],
    }


# --- /etc/fstab


@scenario.step(needs=("start_target",), timeout=150)
def mount_by_fstab() -> dict[str, Any]:
    """The link and the line as vof-mount(1) has them, and then what everybody types."""
    run("sh", "-c", 'ln -s "$(command -v vof-mount)" /sbin/mount.fuse.vof')
    with Path("/etc/fstab").open("a", encoding="utf-8") as fstab:
        fstab.write(
            f"\n{RNG},{BLOCK} {BY_FSTAB} fuse.vof taddr=127.0.0.1,allow_other,_netdev 0 0\n"
        )
    run("mount", BY_FSTAB)
    find = ("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", BY_FSTAB)
    source, kind, options = run(*find).split()
    with (BY_FSTAB / "rng0/random").open("rb", buffering=0) as file:
        read = len(file.read(512))
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    return {
        "source": source,
        "type": kind,
        "options": options.split(","),
        "states": [info(BY_FSTAB / name).get("state") for name in ("rng0", "block0")],
        "size": (BY_FSTAB / "block0/disk").stat().st_size,
        "read": read,
        "nobody": run(*nobody, "sh", "-c", f"head -c 512 {BY_FSTAB}/rng0/random | wc -c").strip(),
        "nobody_disk": run(*nobody, "head", "-c", "1", BY_FSTAB / "block0/disk", check=False),
        "processes": len(processes(BY_FSTAB)),
    }


@scenario.step(needs=("mount_by_fstab",))
def unmount_by_fstab() -> dict[str, Any]:
    seconds = unmount(BY_FSTAB)
    return {
        "seconds": seconds,
        "findmnt": run("findmnt", BY_FSTAB, check=False),
        "entries": [path.name for path in BY_FSTAB.iterdir()],
    }


# --- a file system in the remote disk


@scenario.step(needs=("mount_random",))
def add_devices() -> list[str]:
    """By the control file of the mount that is there."""
    for tvqn in (CRYPTO, BLOCK):
        run("sh", "-c", f"echo command=create,tvqn={tvqn} > {REMOTE}/virtio-fabrics")
    return sorted(path.name for path in REMOTE.iterdir())


@scenario.step(needs=("add_devices",), timeout=120)
def loop_device() -> dict[str, Any]:
    """ext4 in it by way of a loop device: made, filled, looked at with cold caches, checked."""
    content = os.urandom(MIB)
    loop = Path(run("losetup", "--find", "--show", REMOTE / "block0/disk").strip())
    size = int(run("blockdev", "--getsize64", loop))
    try:
        run("mkfs.ext4", "-q", loop)
        run("mount", loop, INNER)
        for number in range(2):
            (INNER / f"file{number}").write_bytes(content)
        run("umount", INNER)
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        run("e2fsck", "-f", "-n", loop)
        run("mount", "-o", "ro", loop, INNER)
        for number in range(2):
            same = (INNER / f"file{number}").read_bytes() == content
            expect(same, f"file{number} is not what was written")
        run("umount", INNER)
    finally:
        run("umount", INNER, check=False)
        run("udevadm", "settle")
        run("losetup", "--detach", loop)
    # The same from the other side, where neither FUSE nor the protocol has a say.
    run("e2fsck", "-f", "-n", IMAGE)
    run("debugfs", "-R", "dump file1 /run/file1", IMAGE)
    return {"size": size, "image": Path("/run/file1").read_bytes() == content}


# --- the crypto device, from a shell


@scenario.step(needs=("add_devices",), timeout=90)
def encrypt() -> dict[str, Any]:
    return encryption.round_trip(REMOTE / "crypto0")


# --- a target that dies


@scenario.step(needs=("add_devices",), timeout=90)
def kill_target() -> dict[str, Any]:
    """While rngd, in the foreground this time, lives on the mount.

    It reads when it has fed a block of 2500 bytes: in one step here, or that would take a while.
    """
    options = ("-t", "1", "-s", "2500", "-p", "/run/rngd-foreground.pid")
    before = int(info(REMOTE / "rng0")["bytes_delivered"])
    daemon = scenario.start("rngd", "rngd", "-f", "-r", RANDOM, *options)

    def has_read() -> bool:
        return int(info(REMOTE / "rng0")["bytes_delivered"]) > before + 7500

    wait_until("rngd to read", has_read)
    expect(daemon.poll() is None, "rngd has ended by itself")
    os.kill(Target.process.pid, signal.SIGKILL)
    Target.process.wait()
    found: dict[str, Any] = {
        "random": timed_error(RANDOM.read_bytes),
        "disk": timed_error(lambda: read_past_the_cache(REMOTE / "block0/disk")),
    }
    start = time.monotonic()
    found["ls"] = run("ls", REMOTE, REMOTE / "rng0", REMOTE / "block0").split()
    found["infos"] = [info(REMOTE / name) for name in ("rng0", "crypto0", "block0")]
    found["looking"] = round(time.monotonic() - start, 3)
    try:
        found["rngd"] = daemon.wait(patience(20))
    except subprocess.TimeoutExpired:
        raise StepError("rngd goes on") from None
    return found


def read_past_the_cache(path: Path) -> int:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return len(os.pread(file.fileno(), 4096, IMAGE_SIZE - 4096))


@scenario.step(needs=("kill_target",))
def unmount_lost() -> dict[str, Any]:
    seconds = unmount(REMOTE)
    return {"seconds": seconds, "findmnt": run("findmnt", REMOTE, check=False)}


@scenario.step(always=True)
def clear_away() -> list[str]:
    """What earlier steps have left, so that the guest can shut down; nothing, if all went well."""
    left = []
    for mountpoint in (INNER, BY_FSTAB, REMOTE):
        if mountpoint.is_mount():
            left.append(str(mountpoint))
            run("umount", "--lazy", mountpoint, check=False)
    return left


if __name__ == "__main__":
    scenario.main()
