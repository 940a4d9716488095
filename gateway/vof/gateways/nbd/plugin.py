# SPDX-License-Identifier: BSD-3-Clause
"""The nbdkit plugin's state: what the user gave, and the sessions behind the exports.

Owns what happens at which of nbdkit's callbacks. Does not import ``nbdkit``, which exists only
inside that program: ``nbdkit-plugin/vof_plugin.py`` does, and passes what is needed. Nothing is
opened before nbdkit forks, but for a probe that is closed again.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import traceback
from collections.abc import Callable, Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any

from vof import __version__
from vof.descriptors import raise_limit, shortage_in
from vof.drivers.block import DEFAULT_QUEUES, BlockDriver
from vof.drivers.block_geometry import check_block_device
from vof.engine.choice import keep_thread
from vof.errors import ConfigError, VofError
from vof.gateways.block_path import enter_block_path
from vof.gateways.disk import Disk, disks_only
from vof.gateways.nbd.export import Export
from vof.gateways.sessions.book import SessionBook
from vof.gateways.sessions.log import log_ended, log_opened, log_resized
from vof.gateways.sessions.status import StatusWriter
from vof.gateways.settings.keys import DESCRIPTORS, MAX_QUEUES, PLUGIN
from vof.gateways.settings.values import parse_yes_or_no
from vof.gateways.suggestion import unknown
from vof.initiator.parameters import PARAMETERS, TRANSPORTS, SessionParameters, parse_integer
from vof.initiator.session import Session
from vof.logline import is_journal, log_to_stderr, printable
from vof.metrics.endpoint import Endpoint
from vof.trace.place import parse_place
from vof.wire.dialect import DIALECT_NAMES
from vof.wire.names import check_name

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from vof.fabric.taps import Taps
    from vof.metrics.exposition import Exposition

__all__ = [
    "Export",
    "NbdGateway",
    "dump_plugin",
    "format_exception",
    "help_text",
    "keep_thread",
]


def _resize_advice(before: int, now: int, *, growing: bool) -> str | None:
    """Return what another size means to clients. NBD has no words for it, nor nbdkit."""
    if now < before:
        return "requests beyond its end fail, and clients have to connect again"
    return None if growing else "clients see it when they connect again"


def format_exception(*args: Any, **kwargs: Any) -> list[str]:
    """Stand in for ``traceback.format_exception``, which nbdkit prints: one line a user can read.

    A VofError says all itself; anything else is a mistake of ours, named with its place.
    """
    error = args[1] if len(args) > 1 else args[0]
    if isinstance(error, VofError):
        return [printable(str(error))]
    if isinstance(error, UnicodeDecodeError):
        # nbdkit itself reads parameters and export names, before anything of ours is called.
        return [f"not UTF-8 text: {printable(error.object.decode(errors='backslashreplace'))}"]
    if shortage := shortage_in(error):
        return [shortage]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return [f"internal error: {type(error).__name__}: {error}{place}; please report it"]


class NbdGateway:
    """The plugin's state: what the user gave, and a session for each device that clients have open.

    NBD connections to one device share its session, so that a flush on any of them covers the
    writes completed on all (can_multi_conn). The last one to close ends the session. After a
    session was lost its connections fail; a new connection gets a new session.
    """

    def __init__(self, set_error: Callable[[int], None], debug: Callable[[str], None]) -> None:
        self._set_error = set_error
        self._debug = debug
        self._parameters = SessionParameters()
        self._queues = DEFAULT_QUEUES
        self._block_path = False
        self._growing = False
        self._mutex = Lock()
        self._disks: dict[str, Disk] = {}
        self._users: dict[Disk, int] = {}
        self._book = SessionBook()
        self._metrics: Endpoint | None = None
        self._exposition: Exposition | None = None
        self._status: StatusWriter | None = None
        self._trace = ""
        self._taps: Taps | None = None

    def config(self, key: str, value: str) -> None:
        """Take one ``key=value``. Raises ConfigError."""
        if key == "queues":
            self._queues = parse_integer(key, value, 1, MAX_QUEUES)
        elif key == "block_path":
            self._block_path = parse_yes_or_no(key, value)
        elif key == "growing":
            self._growing = parse_yes_or_no(key, value)
        elif key == "status_fd":
            self._status = StatusWriter(parse_integer(key, value, *DESCRIPTORS))
        elif key == "metrics":
            self._metrics = Endpoint.parse(key, _as_path(value))
        elif key == "trace":
            self._trace = parse_place(key, _as_path(value))
        elif key in PARAMETERS:
            self._parameters.set(key, value)
        else:
            raise ConfigError(unknown("parameter", key, PLUGIN))

    def get_ready(self) -> None:
        """Do what can go wrong while the user still sees an error: look whether the device is there
        and is a virtio-blk, listen where metrics are wanted, and open what a trace is written to.

        Of the device nothing stays open. Without ``tvqn=`` there is nothing to look for yet.
        """
        if self._trace:
            from vof.trace.initiator import InitiatorTaps  # noqa: PLC0415 - only who wants it

            self._taps = InitiatorTaps.open(self._trace)
        self._probe()
        if self._metrics is not None:
            from vof.metrics.exposition import Exposition  # noqa: PLC0415 - only who wants it

            self._exposition = Exposition(self._metrics, "nbdkit-vof-plugin", self._collect_metrics)

    def after_fork(self) -> None:
        """Prepare the process that serves: log to stderr, start what has a thread. Raises
        ConfigError."""
        raise_limit()
        # A person at a terminal, or who reads what --run printed, asked nbdkit for no more.
        kept = self._block_path or is_journal(2)
        log_to_stderr("nbdkit: vof: ", logging.INFO if kept else logging.WARNING)
        self._parameters.taps = self._taps  # not before: the probe is nobody's request
        if self._block_path:
            enter_block_path()  # first: threads inherit it
        if self._exposition is not None:
            self._exposition.start()
        if self._status is not None:
            self._status.start()

    def cleanup(self) -> None:
        """Serve metrics and tell of sessions no more."""
        if self._status is not None:
            self._status.stop()
        if self._exposition is not None:
            self._exposition.stop()

    def _collect_metrics(self) -> Iterable[Metric]:
        from vof.gateways.sessions.metrics import session_families  # noqa: PLC0415

        return session_families(self._book)

    def _probe(self) -> None:
        if self._parameters.tvqn is None:
            return
        # Bound to iport=, the probe's closing connection would hold the port that the session
        # needs.
        with Session.open(dataclasses.replace(self._parameters, iport=0)) as session, disks_only():
            check_block_device(session)

    def exports(self) -> Iterable[tuple[str, str]]:
        """Return the (name, description) of what can be listed: the device of ``tvqn=``."""
        tvqn = self._parameters.tvqn
        return [] if tvqn is None else [("", f"{tvqn} at {self._parameters.where}")]

    def open(self, export_name: str) -> Export:
        """Return an export for one NBD connection, over the device's session or a new one."""
        tvqn = self._parameters.tvqn
        if tvqn is None:
            if not export_name:
                raise ConfigError(
                    "no device named: without tvqn= the NBD export name is the tvqn; "
                    "use nbd://HOST/TVQN"
                )
            tvqn = check_name("the NBD export name", export_name)
        with self._mutex:
            disk = self._disks.get(tvqn)
            if disk is None or disk.driver.session.is_lost():
                parameters = dataclasses.replace(self._parameters, tvqn=tvqn)
                with disks_only():
                    disk = Disk(BlockDriver.open(parameters, self._queues))
                disk.driver.on_resize = functools.partial(self._resized, disk.driver.session)
                self._follow(disk.driver.session)
                self._disks[tvqn] = disk
                self._debug(_describe(disk))
            self._users[disk] = self._users.get(disk, 0) + 1
        export = Export(disk, self._set_error, self._growing)
        try:
            reason = export.lend()
        except BaseException:
            self.close(export)
            raise
        if self._status is not None:
            self._status.opened(disk, reason)
        return export

    def _follow(self, session: Session) -> None:
        self._book.enter(session)
        log_opened(session)
        session.when_ended(functools.partial(self._ended, session))

    def _ended(self, session: Session, error: VofError) -> None:
        log_ended(session, error)
        if self._status is not None:
            self._status.ended(session, error)

    def _resized(self, session: Session, before: int, now: int) -> None:
        advice = _resize_advice(before, now, growing=self._growing)
        log_resized(session.tvqn, before, now, advice)
        if self._status is not None:
            self._status.resized(session, now)

    def close(self, export: Export) -> None:
        """End one NBD connection's use of its device."""
        disk = export.disk
        with self._mutex:
            self._users[disk] -= 1
            if self._users[disk]:
                return
            del self._users[disk]
            tvqn = disk.driver.session.tvqn
            if self._disks.get(tvqn) is disk:
                del self._disks[tvqn]
        disk.driver.close()
        self._book.leave(disk.driver.session)


def _as_path(value: str) -> str:
    """Return what leads to the bytes that nbdkit has read as UTF-8. It starts Python without what
    makes a program of the C locale's speak UTF-8 as well."""
    return os.fsdecode(value.encode())


def dump_plugin() -> str:
    """Return the lines that ``nbdkit --dump-plugin`` adds for this plugin."""
    return "\n".join(
        (
            f"vof_version={__version__}",
            f"vof_transports={','.join(TRANSPORTS)}",
            f"vof_dialects={','.join(DIALECT_NAMES)}",
            f"vof_parameters={','.join(PLUGIN)}",
        )
    )


def help_text() -> str:
    """Return the help of the plugin's parameters, a line each."""
    width = max(map(len, PLUGIN))
    lines = [f"  {key + '=':{width + 1}}  {each.text}" for key, each in PLUGIN.items()]
    return "\n".join(
        (
            "Usage: nbdkit python vof_plugin.py [KEY=VALUE...]",
            "",
            "Serves a remote virtio-blk device, reached by Virtio-over-Fabrics, as an NBD export.",
            "",
            *lines,
            "",
            "See nbdkit-vof-plugin(1), and nbdkit(1) for nbdkit's own options.",
        )
    )


def _describe(disk: Disk) -> str:
    session = disk.driver.session
    return (
        f"vof: '{session.tvqn}' at {session.parameters.where}: {disk.size} bytes, "
        f"{len(session.virtqueues)} virtqueues, features {disk.driver.features!r}"
    )
