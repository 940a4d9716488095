# SPDX-License-Identifier: BSD-3-Clause
"""The examination of this machine as a whole, in order, with what is needed here.

What is configured decides: a device needs root, nbd and nbdkit, a mount needs FUSE, transport=rdma
an RDMA device. What nothing needs and is not there is told as well, and is not wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from vof.errors import ConfigError
from vof.gateways.diagnosis.finding import Finding, Status, lacking
from vof.gateways.diagnosis.host import Host
from vof.gateways.diagnosis.kernel import check_fuse, check_nbd, check_rdma
from vof.gateways.diagnosis.programs import check_nbdkit
from vof.gateways.diagnosis.reach import Wanted, check_reach
from vof.gateways.settings import effective
from vof.gateways.settings.effective import Effective
from vof.gateways.settings.merged import Settings
from vof.gateways.settings.values import parse_tvqns


def examine(host: Host, settings: Settings, asked: Effective | None = None) -> Iterator[Finding]:
    """Yield what is found of the machine, its configuration, and the devices in it.

    ``asked`` is one device to look for instead of all.
    """
    wanted = list(_wanted(settings)) if asked is None else [_asked(asked)]
    disks, mounts = bool(settings.devices), bool(settings.mounts)
    rdma = any(device.parameters.transport == "rdma" for device in wanted)
    yield from _check_settings(settings)
    yield _check_privilege(host, needed=disks)
    yield check_nbd(host, needed=disks)
    yield from check_nbdkit(host, needed=disks)
    yield from check_fuse(host, needed=mounts)
    yield from check_rdma(host, needed=rdma)
    yield from check_reach(wanted)


def _check_settings(settings: Settings) -> Iterator[Finding]:
    for problem in settings.problems:
        yield Finding("configuration", Status.WRONG, problem.text, "correct that line")
    if not settings.problems:
        count = len(settings.devices), len(settings.mounts)
        text = "{} devices and {} mounts are configured".format(*count)
        yield Finding("configuration", Status.OK, text)


def _check_privilege(host: Host, *, needed: bool) -> Finding:
    if host.is_root:
        return Finding("privilege", Status.OK, "you are root")
    return lacking("privilege", "attaching disks takes root", "run vofctl as root", needed=needed)


def _asked(asked: Effective) -> Wanted:
    return Wanted(asked.name or asked.text("tvqn") or "", asked.parameters())


def _wanted(settings: Settings) -> Iterator[Wanted]:
    """Yield what is configured; what cannot be used is among the settings' problems."""
    for name in settings.devices:
        try:
            yield _asked(effective.device(settings, name))
        except ConfigError:
            continue
    for name in settings.mounts:
        try:
            found = effective.mount(settings, name)
        except ConfigError:
            continue
        for tvqn in parse_tvqns("tvqns", found.text("tvqns") or ""):
            parameters = found.parameters()
            parameters.set("tvqn", tvqn)
            yield Wanted(f"{name}: {tvqn}", parameters)
