# SPDX-License-Identifier: BSD-3-Clause
"""Finds the files of the configuration and reads them, so that none can hang or bloat us.

Owns the folder (/etc/vof, or ``VOF_CONFIG_DIR``), the names in it and the order in which they
count. Must not know what is in them, but for the one line of ``initiator-name``.
"""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from vof.errors import ConfigError
from vof.gateways.settings.origin import Origin, Source, Value
from vof.wire.names import check_name

FOLDER = Path("/etc/vof")
FOLDER_VARIABLE = "VOF_CONFIG_DIR"
"""Environment variable that names another folder (ours)."""

FILE_NAME = "vof.conf"
DROP_INS = "vof.conf.d"
SUFFIX = ".conf"
INITIATOR_NAME = "initiator-name"

MAX_FILE = 1 << 20
"""Bytes of the longest file that is read."""


def default_folder() -> Path:
    """Return the folder that holds this machine's configuration."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else FOLDER


def configuration_files(folder: Path) -> list[Path]:
    """Return the files that are there, in the order in which they count: a later one wins.

    Raises ConfigError where the folder of drop-ins cannot be read.
    """
    drop_ins = folder / DROP_INS
    try:
        # Hidden ones are what editors and package managers leave behind.
        found = sorted(
            path
            for path in drop_ins.iterdir()
            if path.name.endswith(SUFFIX) and not path.name.startswith(".")
        )
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise ConfigError(f"cannot read {drop_ins}: {error.strerror}") from None
    main = folder / FILE_NAME
    return [main] * os.path.lexists(main) + found


def read_file(path: Path) -> bytes:
    """Return a file's content. Raises ConfigError naming it; waits for nothing."""
    try:
        # Opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError(f"cannot read {path}: not a regular file")
        data = os.read(descriptor, MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE:
        raise ConfigError(f"{path} is longer than {MAX_FILE} bytes")
    # Some editors begin a file so that is UTF-8.
    return data.removeprefix(codecs.BOM_UTF8)


def initiator_name(folder: Path) -> Value | None:
    """Return the ivqn of this machine, None where there is no such file.

    Lines that are empty or begin with ``#`` mean nothing. Raises ConfigError for anything but one
    name.
    """
    path = folder / INITIATOR_NAME
    if not os.path.lexists(path):
        return None
    try:
        text = read_file(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from None
    found: Value | None = None
    for number, line in enumerate(text.split("\n"), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        origin = Origin(Source.INITIATOR_NAME, path, number)
        if found is not None:
            raise ConfigError(f"{origin}: a second name; one ivqn is wanted, and nothing else")
        try:
            found = Value(check_name("the ivqn", name), origin)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None
    if found is None:
        raise ConfigError(f"{path} is empty; write an ivqn into it, or remove it")
    return found
