# SPDX-License-Identifier: BSD-3-Clause
"""The state folder, /run/vof (ours), in which stands what is attached on this machine.

    /run/vof/schema               the version of all that follows
    /run/vof/lock                 held by whoever adds or takes over an entry
    /run/vof/devices/NAME/lock    held by NAME's supervisor for as long as it lives
                         /state.json, /nbd.sock, /metrics.sock, /nbdkit.pid, /log

An entry whose lock nobody holds is stale: its supervisor was killed. A lock file says whose the
lock is; that is to be believed while it is held. The locks are those of an open file (fcntl(2),
F_OFD_SETLK): they end with their process, and to look at one does not take it. Must not know the
kernel's devices or nbdkit.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vof.errors import ConfigError
from vof.gateways.settings.local_name import MAX_NAME, check_device_name, shortened

SCHEMA = 1
DEFAULT_FOLDER = Path("/run/vof")
VARIABLE = "VOF_STATE_DIR"

END = signal.SIGTERM
"""Asks a supervisor to detach its disk and end."""

END_NOW = signal.SIGQUIT
"""The same, without waiting for anything."""

_LARGEST = 1 << 20
_FLOCK = struct.Struct("@hhlli")  # struct flock: type, whence, start, length, pid


@dataclass(frozen=True)
class Record:
    """One disk, as its ``state.json`` has it."""

    name: str
    tvqn: str
    target: str
    """Its address, as ``host:port``."""
    state: str
    """``connecting``, ``connected``, ``lost``, ``restarting`` or ``disconnecting``."""
    state_since: str = ""
    """When it came to that: ISO 8601, UTC."""
    device: str = ""
    identifier: str = ""
    size: int = 0
    read_only: bool = False
    connections: int = 0
    nbdkit: int = 0
    """Its process number."""
    fast_path: bool = False
    fast_path_reason: str = ""
    """Why requests do not take it."""
    since: str = ""
    """When it was attached: ISO 8601, UTC."""
    restarts: int = 0
    """How often nbdkit was started again."""
    error: str = ""
    """Why the session was lost, or nbdkit was started again the last time."""
    metrics: str = ""
    """Where nbdkit serves them."""
    settings: list[dict[str, str]] = field(default_factory=list)
    """Each with ``key``, ``value`` and ``origin``."""

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> Record:
        """Raises ConfigError for what this version has not written."""
        try:
            found: Any = json.loads(text)
            if not isinstance(found, dict):
                raise TypeError("not an object")
            _check_schema(found.get("schema"), where)
            known = {each.name for each in fields(cls)}
            return cls(**{key: value for key, value in found.items() if key in known})
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{where} cannot be read ({error}); `vofctl disconnect` of it, or removing "
                f"{where.parent}, makes room"
            ) from None


@dataclass(frozen=True)
class Entry:
    """A disk that is attached, or was."""

    folder: Path
    owner: int | None
    """The process of its supervisor; None for a stale entry."""
    record: Record | None
    """None until its supervisor has written it."""

    @property
    def name(self) -> str:
        return self.folder.name


class Claim:
    """An entry in the hands of its supervisor, which this process is."""

    def __init__(self, folder: Path, lock: int, previous: Record | None) -> None:
        self.folder = folder
        self.previous = previous
        """What a supervisor that was killed has left here."""
        self._lock = lock

    def write(self, record: Record) -> None:
        """Put the record in the place of the last one, at once."""
        new = self.folder / "state.json.new"
        new.write_text(record.to_json(), encoding="utf-8")
        new.chmod(0o644)
        new.rename(self.folder / "state.json")

    def leave(self) -> None:
        """Leave the entry as a stale one, with its log, for who wants to know."""
        os.close(self._lock)

    def release(self) -> None:
        """Remove the entry."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
        os.close(self._lock)


class StateFolder:
    """The state folder. Any of its methods may raise ConfigError."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)
        self._devices = self.path / "devices"

    def entries(self) -> list[Entry]:
        """Return what is there, by name. What ends meanwhile is left out."""
        if not self._check():
            return []
        try:
            names = sorted(path.name for path in self._devices.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []
        return [entry for name in names if (entry := self._entry(self._devices / name))]

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that name, if there is one."""
        return self._entry(self._devices / name) if self._check() else None

    def claim(self, name: str | None, default: str, tvqn: str, target: str) -> Claim:
        """Make this process the supervisor of a disk: of ``name``, or of ``default`` or what is
        free beside that.

        Raises ConfigError with EBUSY for a name or a disk that has one.
        """
        self._prepare()
        with self._locked():
            entries = {entry.name: entry for entry in self.entries()}
            for entry in entries.values():
                if entry.owner is None or entry.record is None:
                    continue
                if (entry.record.tvqn, entry.record.target) == (tvqn, target):
                    device = entry.record.device or "not attached yet"
                    raise ConfigError(
                        f"'{tvqn}' at {target} is connected already, as {entry.name} ({device})",
                        errno=errno.EBUSY,
                    )
            chosen = check_device_name(name) if name else _free(default, entries, tvqn)
            found = entries.get(chosen)
            if found and found.owner is not None:
                raise ConfigError(
                    f"the name {chosen} is taken; choose another with --name",
                    errno=errno.EBUSY,
                )
            claim = self._take(chosen, found.record if found else None)
            # Seen by the next who claims, however long it takes to attach.
            claim.write(Record(chosen, tvqn, target, "connecting"))
            return claim

    def adopt(self, name: str) -> Claim | None:
        """Take over a stale entry, to clean it up; None if it has an owner or is gone."""
        if not self._check():
            return None
        with self._locked():
            found = self.entry(name)
            if found is None or found.owner is not None:
                return None
            return self._take(name, found.record)

    def _take(self, name: str, previous: Record | None) -> Claim:
        folder = self._devices / name
        try:
            folder.mkdir(exist_ok=True)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _not_writable(folder, error) from None
        if not _take_lock(lock, wait=False):
            os.close(lock)
            raise ConfigError(f"the name {name} is taken", errno=errno.EBUSY)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return Claim(folder, lock, previous)

    def _entry(self, folder: Path) -> Entry | None:
        # Asked first: a record is complete before its supervisor ends.
        try:
            owner = _owner(folder / "lock")
        except FileNotFoundError:
            return Entry(folder, None, None) if folder.is_dir() else None
        except OSError as error:
            raise ConfigError(
                f"cannot read {folder}: {error.strerror}; it takes root", errno=error.errno
            ) from None
        path = folder / "state.json"
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_LARGEST)
        except FileNotFoundError:
            return Entry(folder, owner, None) if folder.is_dir() else None
        return Entry(folder, owner, Record.from_json(text, path))

    def _check(self) -> bool:
        """Return whether there is anything. Raises ConfigError for another version's folder."""
        path = self.path / "schema"
        try:
            text = path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            if self._devices.is_dir() and any(self._devices.iterdir()):
                _check_schema(None, path)
            return False
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}", errno=error.errno) from None
        _check_schema(int(text) if text.isdigit() else text, path)
        return True

    def _prepare(self) -> None:
        try:
            self._devices.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not self._check():
                new = self.path / f"schema.{os.getpid()}"
                new.write_text(f"{SCHEMA}\n", encoding="ascii")
                new.rename(self.path / "schema")
        except OSError as error:
            raise _not_writable(self.path, error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _not_writable(self.path, error) from None
        try:
            _take_lock(lock, wait=True)
            yield
        finally:
            os.close(lock)


def _free(default: str, entries: dict[str, Entry], tvqn: str) -> str:
    """Return the default name, or with a number if another disk has it."""
    for number in range(1, len(entries) + 2):
        name = default
        if number > 1:
            name = f"{shortened(default, MAX_NAME - len(str(number)) - 1)}-{number}"
        found = entries.get(name)
        stale = found is not None and found.owner is None
        if found is None or (stale and (found.record is None or found.record.tvqn == tvqn)):
            return name
    raise AssertionError("one of n+1 names is free of n")


def _take_lock(fd: int, *, wait: bool) -> bool:
    """Lock the open file; return whether it was to be had."""
    whole = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, whole)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> int | None:
    """Return the process that holds the lock, 0 if it has not said so yet. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_rest = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return None
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)


def _check_schema(found: object, where: Path) -> None:
    if found != SCHEMA:
        raise ConfigError(
            f"{where} is of another version of vof (schema {found if found else 'none'}, this one "
            f"has {SCHEMA}): disconnect its disks with that version, or use another --state-dir"
        )


def _not_writable(path: Path, error: OSError) -> ConfigError:
    advice = "; it takes root" if error.errno in {errno.EACCES, errno.EPERM} else ""
    return ConfigError(f"cannot write {path}: {error.strerror}{advice}", errno=error.errno)
