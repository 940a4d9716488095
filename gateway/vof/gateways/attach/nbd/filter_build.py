# SPDX-License-Identifier: BSD-3-Clause
"""Builds nbdkit's vof filter for the nbdkit of this machine.

A filter works only with the very nbdkit whose headers it was compiled with (nbdkit-filter(3),
"FILTER API AND ABI"), so it is made where it is used, out of the source that comes with the
package. What was built is kept in the user's cache, under nbdkit's version and the source's digest:
another nbdkit or another vof is another file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.program import undone

FILE_NAME = "nbdkit-vof-filter.so"
"""As nbdkit names a filter that is found as ``--filter=vof``."""

_SOURCE = "nbdkit-vof-filter.c"
_HEADER = "fast_path.h"
_PACKAGES = "nbdkit, nbdkit-plugin-dev and gcc (Debian's names)"
_INCLUDES = ("/usr/include", "/usr/local/include")


@dataclass(frozen=True)
class InstalledNbdkit:
    """The nbdkit in PATH."""

    version: str
    filter_folder: Path

    @classmethod
    def find(cls) -> InstalledNbdkit:
        """Ask it. Raises ConfigError."""
        try:
            done = subprocess.run(
                ["nbdkit", "--dump-config"], capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            raise ConfigError(f"nbdkit is not installed; install {_PACKAGES}") from None
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"nbdkit cannot be asked what it is: {error}") from None
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        try:
            return cls(found["version"], Path(found["filterdir"]))
        except KeyError as missing:
            raise ConfigError(f"nbdkit --dump-config does not tell its {missing.args[0]}") from None


def filter_path() -> Path:
    """Return the filter for this machine's nbdkit, building it if need be.

    Raises ConfigError where something it takes is missing, VofError where the compiler fails.
    """
    nbdkit = InstalledNbdkit.find()
    source, header = _sources()
    digest = hashlib.sha256(source.read_bytes() + header.read_bytes()).hexdigest()[:16]
    folder = _cache() / f"nbdkit-{nbdkit.version}-{digest}"
    path = folder / FILE_NAME
    if not path.exists():
        _check_headers(nbdkit)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make {folder}: {error.strerror}; XDG_CACHE_HOME= names another place"
            ) from None
        _compile(source, header, path)
    return path


def install_filter() -> Path:
    """Put the filter where nbdkit finds it as ``--filter=vof``; return its path there.

    Raises as ``filter_path``, and ConfigError where that folder cannot be written to.
    """
    built = filter_path()
    place = InstalledNbdkit.find().filter_folder / FILE_NAME
    try:
        # Renamed into place: an nbdkit that runs keeps the file it has.
        with undone(), tempfile.TemporaryDirectory(dir=place.parent) as folder:
            made = Path(shutil.copyfile(built, Path(folder) / FILE_NAME))
            made.chmod(0o644)
            made.rename(place)
    except OSError as error:
        raise ConfigError(
            f"cannot write {place}: {error.strerror}; run it as root, or use "
            "--filter=$(vofctl filter path)"
        ) from None
    return place


def _sources() -> tuple[Path, Path]:
    """Return source and header: of the checkout this runs from, or as they were installed."""
    checkout = Path(__file__).resolve().parents[5]
    installed = Path(sys.prefix) / "share" / "vof"
    for source, header in (
        (checkout / "nbdkit-plugin" / _SOURCE, checkout / "gateway/native/initiator" / _HEADER),
        (installed / _SOURCE, installed / _HEADER),
    ):
        if source.exists() and header.exists():
            return source, header
    raise ConfigError(f"{_SOURCE} is not in {installed}: this installation of vof is not whole")


def _cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(given) if given else Path.home() / ".cache") / "vof"
    except RuntimeError:
        raise ConfigError("there is no home directory; XDG_CACHE_HOME= names a place") from None


def _check_headers(nbdkit: InstalledNbdkit) -> None:
    for include in _INCLUDES:
        header = Path(include) / "nbdkit-version.h"
        if header.exists() and (Path(include) / "nbdkit-filter.h").exists():
            break
    else:
        raise ConfigError(f"nbdkit's headers are not installed; install {_PACKAGES}")
    found = re.search(r'NBDKIT_VERSION_STRING\s+"([^"]+)"', header.read_text(encoding="utf-8"))
    if found and found[1] != nbdkit.version:
        raise ConfigError(
            f"nbdkit is version {nbdkit.version}, but the headers in {include} are of {found[1]}; "
            "install the two of one version"
        )


def _compile(source: Path, header: Path, path: Path) -> None:
    compiler = os.environ.get("CC") or "cc"
    with undone(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / FILE_NAME
        command = [
            *(compiler.split()), "-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden",
            f"-I{header.parent}", str(source), "-o", str(made),
        ]  # fmt: skip
        try:
            # What a compiler that is killed leaves goes with the folder.
            environment = os.environ | {"TMPDIR": folder}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise ConfigError(
                f"there is no C compiler '{compiler}'; install {_PACKAGES}, or name one in CC="
            ) from None
        if done.returncode:
            raise VofError(f"{compiler} cannot compile {source}: {done.stderr.strip()}")
        made.rename(path)
