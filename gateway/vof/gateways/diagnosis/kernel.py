# SPDX-License-Identifier: BSD-3-Clause
"""Looks for what the kernel brings: nbd for block devices, FUSE for files, RDMA devices."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from enum import Enum

from vof.gateways.diagnosis.finding import Finding, Status, lacking
from vof.gateways.diagnosis.host import Host


class Module(Enum):
    """The place of a kernel module."""

    LOADED = "loaded"
    THERE = "there"
    """It can be loaded."""
    NOT_THERE = "not there"


def module(host: Host, name: str) -> Module:
    """Return where a module of the running kernel is; one that is built in is loaded."""
    if host.path(f"/sys/module/{name}").exists():
        return Module.LOADED
    folder = f"/lib/modules/{host.release}"
    if f"/{name}.ko" in host.text(f"{folder}/modules.builtin"):
        return Module.LOADED
    files = (line.partition(":")[0] for line in host.text(f"{folder}/modules.dep").splitlines())
    # Compressed ones have another suffix behind it.
    found = any(f"/{name}.ko" in f"/{file}" for file in files)
    return Module.THERE if found else Module.NOT_THERE


def check_nbd(host: Host, *, needed: bool) -> Finding:
    """Look for nbd, which makes block devices."""
    match module(host, "nbd"):
        case Module.LOADED:
            count = sum(1 for _path in host.entries("/sys/block/nbd*"))
            return Finding("nbd", Status.OK, f"the kernel has {count} nbd devices")
        case Module.THERE if host.is_root:
            return Finding("nbd", Status.OK, "the kernel's module is loaded when it is needed")
        case Module.THERE:
            text = "the kernel's module is not loaded"
            return lacking("nbd", text, "as root: modprobe nbd", needed=needed)
    return lacking(
        "nbd",
        f"the running kernel, {host.release}, has no nbd module: no block devices",
        "boot one that has it (Debian: linux-image-amd64; in a container it is the host's), or use "
        "the file `disk` of `vof-mount TVQN MOUNTPOINT`, which needs none",
        needed=needed,
    )


def check_fuse(host: Host, *, needed: bool) -> Iterator[Finding]:
    """Look for FUSE, which mounts are made by."""
    if not host.path("/dev/fuse").exists():
        fix = "as root: modprobe fuse; in a container: give it /dev/fuse"
        if module(host, "fuse") is Module.NOT_THERE:
            fix = f"boot a kernel that has FUSE; {host.release} has not"
        yield lacking("fuse", "there is no /dev/fuse: no mounts", fix, needed=needed)
        return
    if not host.can_open("/dev/fuse"):
        yield lacking(
            "fuse", "you may not open /dev/fuse", "as root: chmod 666 /dev/fuse", needed=needed
        )
    elif not host.is_root and host.run(["fusermount3", "--version"]).status != 0:
        yield lacking(
            "fuse",
            "fusermount3, by which others than root mount, is not installed",
            "install fuse3 (Debian's name)",
            needed=needed,
        )
    else:
        yield Finding("fuse", Status.OK, "mounts can be made")
    allowed = "user_allow_other" in map(str.strip, host.text("/etc/fuse.conf").splitlines())
    if not host.is_root and not allowed:
        yield Finding(
            "fuse",
            Status.MISSING,
            "the option allow_other is not for you",
            "as root: echo user_allow_other >> /etc/fuse.conf",
        )


def check_rdma(host: Host, *, needed: bool) -> Iterator[Finding]:
    """Look for devices that transport=rdma can use, and for what uses them."""
    devices = [path.name for path in host.entries("/sys/class/infiniband/*")]
    if not devices:
        yield lacking(
            "rdma",
            "there is no RDMA device: transport=tcp only",
            "put in an adapter; or in software, as root: modprobe rdma_rxe, then "
            "`rdma link add rxe0 type rxe netdev INTERFACE` (iproute2)",
            needed=needed,
        )
        return
    active = []
    for device in devices:
        states = host.entries(f"/sys/class/infiniband/{device}/ports/*/state")
        if any("ACTIVE" in host.content(path) for path in states):
            active.append(device)
        else:
            yield lacking(
                "rdma",
                f"no port of {device} is active",
                "bring its network interface up, and see to the cable",
                needed=needed and len(devices) == 1,
            )
    if not host.can_open("/dev/infiniband/rdma_cm"):
        yield lacking(
            "rdma",
            "/dev/infiniband/rdma_cm is not there, or not for you",
            "as root: modprobe rdma_ucm; udev makes it open to all",
            needed=needed,
        )
    elif importlib.util.find_spec("pyverbs") is None:
        yield lacking(
            "rdma",
            "pyverbs cannot be loaded",
            "install python3-pyverbs (Debian's name)",
            needed=needed,
        )
    elif active:
        yield Finding("rdma", Status.OK, f"can be used: {', '.join(active)}")
