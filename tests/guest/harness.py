# SPDX-License-Identifier: BSD-3-Clause
"""Boot Debian's own kernel on this machine's files and run a scenario in it.

How it works. virtme-ng starts QEMU with the newest packaged kernel and a small initramfs of its
own, shares this machine's root with the guest over 9p, and runs one shell script there as root.
That script activates our virtual environment and runs a scenario (see `steps.py`), which writes
its record into the exchange folder, the one place where a guest can leave something. So a kernel
with nbd, XFS or RDMA is at hand whatever kernel the machine itself runs, and no disk image has to
be built or kept.

KVM is never used, even where it is there: the guest is the same on a laptop, in a container and in
CI. The price is speed: about ten seconds to boot, and everything inside some ten times slower than
outside. Therefore one boot serves all tests of a module, and a scenario has many steps.

What to know when writing one:

- `/` is the host's, read-only. `/etc /lib /home /opt /srv /usr /var /tmp` have a writable layer
  above that; what is written there is memory of the guest (as is `/run`, `/dev/shm`, `/var/tmp`,
  `/var/log`) and gone in the end. All of these together may take half of the guest's memory.
- The checkout, wherever it lies, is to be taken for read-only; so is root's home: HOME is in /run.
- Unix sockets go under /run or /tmp: 9p, hence the exchange folder, cannot carry them.
- udevd runs, so /dev/nbd0 and its like appear by themselves, and it reads every new device to see
  what is on it: `udevadm settle` after attaching and before detaching. systemd does not run: there
  are no units and no journal.
- nbd devices are attached by `nbd.attach`, which also sees to a fault that Linux has there.
- nbd sends a request again after 30 s without a reply: give steps that use it more than that.
- `lo` is up. There is no other network, unless a scenario makes one: `rxe` has RDMA on some.
- A whole suite of pytest can be one step, and be judged test by test outside: see `suite`.
- Modules load on demand with modprobe; a few slow and useless ones are blacklisted below.
- Do not write to /dev/stdout or /dev/stderr by name: they are not the script's own streams here.
- A crash of the kernel ends the guest at once; its last words are in the log.
"""

import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guest import steps

CHECKOUT = Path(__file__).resolve().parents[2]

# Modules that udev would load for QEMU's idea of a PC. They cost a third of the boot under
# emulation and nothing here uses them.
BLACKLIST = (
    *("kvm", "kvm_amd", "kvm_intel", "ccp"),
    *("ahci", "sr_mod", "sg"),
    *("psmouse", "serio_raw", "evdev", "pcspkr", "button", "qemu_fw_cfg"),
    *("iTCO_wdt", "i6300esb", "lpc_ich", "i2c_i801"),
    *("aesni_intel", "ghash_clmulni_intel", "sha1_ssse3", "sha256_ssse3", "sha512_ssse3"),
)

_ENTER = """\
# What virtme-ng runs inside the guest.
export PATH={venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin VIRTUAL_ENV={venv} HOME=/run/home
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
mkdir -p "$HOME"
cd {checkout} && exec env {environment} python -m {module}
"""


class GuestError(Exception):
    """There is nothing to boot, or nothing to boot it with."""


@dataclass(frozen=True)
class Guest:
    """What a finished guest left behind."""

    folder: Path
    """The exchange folder, as the host names it: the record and what services logged."""
    log: Path
    """The kernel's messages and the output of the steps, in the order in which they came."""
    status: int | None
    """The exit status of the scenario; None if the guest took too long and was killed."""
    seconds: float
    """From start to end, boot included."""
    records: dict[str, dict[str, Any]]
    """The last line of the record about each step."""

    def result(self, step: str) -> Any:
        """What the step returned; AssertionError, with all that is known, unless it passed."""
        __tracebackhide__ = True
        record = self.records.get(step, {"state": "never started"})
        state = record["state"]
        if state == "passed":
            return record["data"]
        if state == "failed":
            raise AssertionError(f"step {step} failed: {record['error']}{self.logs()}")
        if state == "left out":
            raise AssertionError(f"step {step} was left out: {record['error']}")
        how = "went off" if self.status is not None else f"was killed after {self.seconds:.0f} s"
        logs = self.logs() if state == "started" else f" (see {self.log})"
        raise AssertionError(f"step {step} {state}, then the guest {how}{logs}")

    def logs(self, lines: int = 30) -> str:
        """The ends of the guest's log and of those of the services in it."""
        text = ""
        for path in (self.log, *sorted(self.folder.glob("*.log"))):
            ending = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            if ending:
                text += "\n".join([f"\n--- end of {path}", *ending])
        return text


def find_kernel() -> Path:
    """The newest packaged kernel that has its modules here. GuestError if there is none."""

    def version(kernel: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", kernel.name)]

    kernels = [
        kernel
        for kernel in Path("/boot").glob("vmlinuz-*")
        if any(Path("/lib/modules", kernel.name[8:]).glob("kernel/drivers/block/nbd.ko*"))
        and os.access(kernel, os.R_OK)
    ]
    if not kernels:
        raise GuestError("no kernel with an nbd module in /boot: install linux-image-amd64")
    return max(kernels, key=version)


def run_scenario(
    module: str,
    *,
    timeout: float = 240,
    memory: str = "2G",
    cpus: int = 2,
    kernel_args: str = "",
    environment: Mapping[str, str] | None = None,
    nanoseconds_log2: int | None = None,
) -> Guest:
    """Boot a guest, run `python -m MODULE` in it, wait until it is off again.

    `environment` is what the scenario sees beside the harness's own. With `nanoseconds_log2` the
    guest's clock counts instructions, each of them 2 to that power nanoseconds: what is measured
    inside depends neither on this machine nor on who else uses it. Its CPUs then take turns.

    Its files are left in build/guest/<last part of the module's name>, for people and for CI;
    `tail -f` on guest.log there shows a run as it goes. GuestError if no guest can be booted.
    """
    if shutil.which("vng") is None:
        raise GuestError("vng (virtme-ng) not found in PATH: is the virtual environment active?")
    kernel = find_kernel()
    home = CHECKOUT / "build" / "guest" / module.rpartition(".")[2]
    shutil.rmtree(home, ignore_errors=True)
    exchange = home / "exchange"
    exchange.mkdir(parents=True)
    enter = _ENTER.format(
        venv=shlex.quote(sys.prefix),
        checkout=shlex.quote(str(CHECKOUT)),
        module=module,
        environment=shlex.join(f"{name}={value}" for name, value in (environment or {}).items()),
    )
    (exchange / "enter.sh").write_text(enter, encoding="utf-8")

    command = [
        *("vng", "--run", str(kernel), "--user", "root", "--verbose"),
        *("--disable-kvm", "--force-9p"),  # virtiofsd would need newer QEMU or more privileges
        *("--cpus", str(cpus), "--memory", memory),
        f"--rwdir={steps.EXCHANGE}={exchange}",
        *("--append", f"loglevel=5 modprobe.blacklist={','.join(BLACKLIST)} {kernel_args}"),
        *("--exec", f"sh {steps.EXCHANGE}/enter.sh"),
    ]
    if nanoseconds_log2 is not None:
        command.append(f"--qemu-opts=-icount shift={nanoseconds_log2}")
    log = home / "guest.log"
    start = time.monotonic()
    status = run_logged(command, log, steps.patience(timeout))
    seconds = time.monotonic() - start
    guest = Guest(exchange, log, status, seconds, read_record(exchange / steps.RECORD))
    if not guest.records:
        raise GuestError(f"the guest ended ({status}) before its first step{guest.logs()}")
    return guest


def run_logged(command: list[str], log: Path, timeout: float) -> int | None:
    """Exit status of the command, its output in the log; None if it had to be killed."""
    deadline = time.monotonic() + timeout
    # A pipe, not the file itself: QEMU opens its output anew by name, and truncates what it opens.
    with (
        log.open("wb", buffering=0) as sink,
        subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # QEMU is a grandchild: to be killed as a group
        ) as process,
    ):
        assert process.stdout is not None
        try:
            while (left := deadline - time.monotonic()) > 0:
                if select.select([process.stdout], [], [], left)[0]:
                    output = os.read(process.stdout.fileno(), 1 << 16)
                    if not output:
                        return process.wait()
                    sink.write(output)
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def read_record(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of the record about each step."""
    if not path.exists():
        return {}
    records: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the guest died while it wrote this line
        records[record["step"]] = record
    return records
