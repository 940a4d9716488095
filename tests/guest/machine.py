# SPDX-License-Identifier: BSD-3-Clause
"""A machine with systemd: Debian's own kernel and init on a disk that outlives a boot.

`harness.py` boots a kernel on this machine's files and is that guest's init itself. This boots a
machine as it is booted elsewhere: an initramfs finds the root and hands over to systemd, which
starts what is enabled, and one unit more, that runs a scenario (see `steps.py`) and then says what
comes next: reboot or power off. Both end QEMU. Another `boot` of the same machine is the reboot,
and has the journal of the boot before it.

The root is one of two:

- a folder with a Debian of its own (`debian.py`), which becomes the content of the disk;
- otherwise this machine's files over 9p, with the disk as a writable layer above all of them. What
  this machine has enabled or has in /etc/fstab is not, there; /tmp is empty.

What to know when writing a scenario for it: programs and files are where they are on a real
machine, and may be written anywhere, as long as it takes; the checkout is in /run/checkout and the
folder that the host sees is `steps.EXCHANGE`; /run is not kept. No network but `lo`.
"""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.guest import steps
from tests.guest.harness import (
    BLACKLIST,
    CHECKOUT,
    Guest,
    GuestError,
    find_kernel,
    read_record,
    run_logged,
)

PLACE = Path("/run/checkout")
"""Where the checkout is, inside."""

_MODULES = ("virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "overlay", "ext4")

# Nothing that a machine without a screen, a network and users has to do.
_MASKED = (
    *("timers.target", "getty.target", "systemd-logind.service", "dbus.service", "dbus.socket"),
    *("systemd-timesyncd.service", "systemd-networkd.service", "systemd-update-utmp.service"),
    *("systemd-networkd-wait-online.service", "NetworkManager-wait-online.service"),
    *("e2scrub_reap.service", "systemd-pstore.service", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "dev-hugepages.mount", "systemd-update-utmp-runlevel.service"),
)

_INIT = """\
#!/bin/busybox sh
# The machine's initramfs: find the root, hand over.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
mount -t tmpfs -o mode=755 run /run
share() {
    mkdir -p "$2"
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2" || sleep 5
}
share exchange /run/exchange rw,cache=none
share checkout /run/checkout ro,cache=loose
mkdir -p /disk /newroot
mount -t ext4 /dev/vda /disk
if [ -d /disk/usr ]; then
    mount --move /disk /newroot
    share modules /newroot/lib/modules ro,cache=loose
else
    share host /host ro,cache=loose
    mkdir -p /disk/upper /disk/work
    mount -t overlay -o lowerdir=/host,upperdir=/disk/upper,workdir=/disk/work root /newroot
    mount -t tmpfs -o mode=1777 tmp /newroot/tmp
    if ! [ -e /newroot/etc/systemd/system/story.service ]; then
        rm -rf /newroot/etc/systemd/system /newroot/etc/fstab /newroot/var/log/journal
        : >/newroot/etc/machine-id # empty: or systemd would enable all there is at a first boot
    fi
fi
cp -a /run/exchange/seed/. /newroot/
for each in dev proc sys run; do mount --move /$each /newroot/$each; done
exec switch_root /newroot /lib/systemd/systemd
"""

_UNIT = """\
[Unit]
Description=The steps of this boot
After=basic.target

[Service]
Type=exec
WorkingDirectory={checkout}
Environment=HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
Environment=PYTHONFAULTHANDLER=1
ExecStart=/usr/bin/python3 -m {module}
ExecStopPost=-/bin/systemctl --no-block {then}
StandardOutput=append:{exchange}/story.log
StandardError=append:{exchange}/story.log
TimeoutStopSec=10
KillMode=process
"""


@dataclass(frozen=True)
class Boot:
    """What a boot has left, as a guest's, and how long it took to end."""

    guest: Guest
    shutdown: float
    """Seconds from the scenario's last step until the machine was off."""


class Machine:
    """One machine, between and during its boots."""

    def __init__(self, name: str, root: Path | None = None, *, size: int = 4 << 30) -> None:
        """Make it, with a new disk. Raises GuestError if there is nothing to make it of."""
        self._home = CHECKOUT / "build" / "guest" / name
        self._kernel = find_kernel()
        self._modules = Path("/lib/modules") / self._kernel.name.removeprefix("vmlinuz-")
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(parents=True)
        self._disk = self._home / "disk.img"
        with self._disk.open("wb") as image:
            image.truncate(size)
        self._root = root
        make_file_system(self._disk, root)
        self.seed.mkdir()
        self._initramfs = self._home / "initramfs"
        self._make_initramfs()

    @property
    def seed(self) -> Path:
        """A folder whose content is copied over the root when the machine boots first."""
        return self._home / "seed"

    def boot(self, module: str, *, then: str = "poweroff", timeout: float = 600) -> Boot:
        """Boot, run `python -m MODULE` inside, do what comes `then`, wait until the machine is off.

        Raises GuestError if there was not a single step.
        """
        home = self._home / module.rpartition(".")[2]
        exchange = home / "exchange"
        exchange.mkdir(parents=True)
        if self.seed.exists():
            self.seed.rename(exchange / "seed")
        units = exchange / "seed/etc/systemd/system"
        wants = units / "multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (units / "story.service").write_text(
            _UNIT.format(checkout=PLACE, module=module, then=then, exchange=steps.EXCHANGE)
        )
        (wants / "story.service").symlink_to("../story.service")
        # As Debian has it enabled: it was cleared away with what else is here.
        (wants / "remote-fs.target").symlink_to("/usr/lib/systemd/system/remote-fs.target")
        (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        log = home / "guest.log"
        start = time.monotonic()
        status = run_logged(self._command(exchange), log, steps.patience(timeout))
        end = time.monotonic()
        record = exchange / steps.RECORD
        guest = Guest(exchange, log, status, end - start, read_record(record))
        if not guest.records:
            raise GuestError(f"the machine ended ({status}) before its first step{guest.logs()}")
        return Boot(guest, time.time() - record.stat().st_mtime)

    def _command(self, exchange: Path) -> list[str]:
        shares = [("exchange", exchange, "off"), ("checkout", CHECKOUT, "on")]
        if self._root is None:
            shares.append(("host", Path("/"), "on"))
        else:
            shares.append(("modules", Path("/lib/modules"), "on"))
        options = (
            *("console=ttyS0", "panic=-1", "systemd.show_status=1", "loglevel=5"),
            "SYSTEMD_COLORS=0",
            f"modprobe.blacklist={','.join(BLACKLIST)}",
            *(f"systemd.mask={unit}" for unit in _MASKED),
        )
        command = [
            *("qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=multi"),
            *("-smp", "2", "-m", "2G", "-nodefaults", "-no-reboot", "-display", "none"),
            *("-serial", "stdio", "-kernel", str(self._kernel), "-initrd", str(self._initramfs)),
            *("-append", " ".join(options)),
            *("-drive", f"if=virtio,format=raw,cache=unsafe,file={self._disk}"),
        ]
        for name, path, only in shares:
            device = f"local,id={name},path={path},security_model=none,multidevs=remap"
            command += ["-fsdev", f"{device},readonly={only}"]
            command += ["-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
        return command

    def _make_initramfs(self) -> None:
        tree = self._home / "tree"
        busybox = shutil.which("busybox") or "/bin/busybox"
        for folder in ("bin", "dev", "proc", "sys", "run", "modules"):
            (tree / folder).mkdir(parents=True)
        shutil.copy(busybox, tree / "bin/busybox")
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        order: list[str] = []
        for name in _MODULES:
            shown = _do("modprobe", "--show-depends", "-S", self._modules.name, name)
            for module in map(Path, re.findall(r"^insmod (\S+)", shown, re.MULTILINE)):
                if module.name not in order:
                    order.append(module.name)
                    shutil.copy(module, tree / "modules")
        (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
        files = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        with self._initramfs.open("wb") as sink:
            subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc"],
                cwd=tree,
                input="\n".join(files).encode(),
                stdout=sink,
                check=True,
            )


def make_file_system(image: Path, content: Path | None = None) -> None:
    """Make ext4 on the image, with what is in a folder. Raises GuestError."""
    words = [] if content is None else ["-d", str(content)]
    _do("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", *words, image)


def _do(*command: str | Path) -> str:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise GuestError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
