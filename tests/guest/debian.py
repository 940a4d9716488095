# SPDX-License-Identifier: BSD-3-Clause
"""A Debian of its own with vof in it, by `make install` from a checkout, as README says.

Made on this machine, in a folder, for `machine.Machine` to boot. What Debian itself is made of is
fetched once and kept in build/guest; the installation, which fetches more packages and builds the
gateway, is done anew each time.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.guest.harness import CHECKOUT, GuestError

_RELEASE = "bookworm"
# What a machine has before anybody installs something on it, and make.
_PACKAGES = ("systemd-sysv", "udev", "kmod", "make")

_PASSED_ON = ("PIP_CERT", "PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")
# Of those who look into what passes to this machine, if there are any. Never its /etc/ssl/certs
# itself: installing ca-certificates writes there.
_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_SOURCES = Path("root/vof")

_INSIDE = """\
set -e
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
exec chroot . make -C /{sources} install
"""


def make_debian(name: str) -> Path:
    """Make it, in build/guest/NAME, and return that folder. Raises GuestError."""
    folder = CHECKOUT / "build" / "guest" / name
    archive = _make_archive()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _do("tar", "-x", "-C", folder, "-f", archive, "--numeric-owner")
    sources = folder / _SOURCES
    sources.mkdir(parents=True)
    listing = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z"], stdout=subprocess.PIPE, check=True
    )
    for tracked in filter(None, listing.stdout.decode().split("\0")):
        (sources / tracked).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / tracked, sources / tracked)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    if _AUTHORITIES.is_dir():
        inside = folder / _AUTHORITIES.relative_to("/")
        shutil.copytree(_AUTHORITIES, inside, dirs_exist_ok=True)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        **{key: os.environ[key] for key in _PASSED_ON if key in os.environ},
    }
    script = _INSIDE.format(sources=_SOURCES)
    _do("unshare", "--mount", "sh", "-c", script, "sh", folder, environment=environment)
    _do("rm", "-rf", folder / "var/cache/apt/archives", folder / "root/.cache")
    return folder


def _make_archive() -> Path:
    """Debian before anything is installed on it, fetched unless it is there."""
    key = hashlib.sha256(repr((_RELEASE, _PACKAGES)).encode()).hexdigest()[:12]
    archive = CHECKOUT / "build" / "guest" / f"debian-{key}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_suffix(".part.tar")
        packages = f"--include={','.join(_PACKAGES)}"
        _do("mmdebstrap", "--quiet", "--variant=minbase", packages, _RELEASE, part)
        part.rename(archive)
    return archive


def _do(
    *command: str | Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise GuestError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        words = done.stdout.decode(errors="replace")
        raise GuestError(f"{command[0]} ended with {done.returncode}:\n{words}")
