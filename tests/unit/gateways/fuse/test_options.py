# SPDX-License-Identifier: BSD-3-Clause
"""What a user says to mount, and what fstab says for others."""

from __future__ import annotations

import os

import pytest

from vof.errors import ConfigError
from vof.gateways.fuse.nodes import Access, Folder, Node
from vof.gateways.fuse.options import MountOptions, mount_options
from vof.gateways.fuse.ownership import Ownership


def options(text: str = "", *words: str) -> MountOptions:
    return mount_options([*words, "/mnt"], [text])


def test_defaults() -> None:
    found = options()
    assert (found.mountpoint, found.tvqns, found.source, found.name) == ("/mnt", [], "vof", None)
    assert found.ownership == Ownership(os.getuid(), os.getgid())
    assert found.fuse == set()
    assert (found.parameters.taddr, found.parameters.tport) == ("127.0.0.1", 15771)
    assert found.parameters.timeout == 30
    assert found.parameters.connect_timeout == 15


def test_devices() -> None:
    found = options("", "a/b.service", "c/d,e/f")
    assert found.tvqns == ["a/b.service", "c/d", "e/f"]
    assert found.source == "a/b.service,c/d,e/f"


@pytest.mark.parametrize("source", ["none", "vof", ""])
def test_no_device(source: str) -> None:
    assert options("", source).tvqns == []


def test_all_options() -> None:
    text = (
        "taddr=10.0.0.1,tport=99,transport=tcp,ivqn=me,iaddr=10.0.0.2,iport=7,dialect=auto,"
        "timeout=2.5,name=dice,uid=0,gid=12,mode=0640,allow_other"
    )
    found = options(text, "a/b")
    parameters = found.parameters
    assert (parameters.taddr, parameters.tport, parameters.ivqn) == ("10.0.0.1", 99, "me")
    assert (parameters.iaddr, parameters.iport) == ("10.0.0.2", 7)
    assert (parameters.timeout, parameters.connect_timeout) == (2.5, 2.5)
    assert found.ownership == Ownership(0, 12, 0o640)
    assert (found.name, found.fuse) == ("dice", {"allow_other"})


def test_several_lists() -> None:
    found = mount_options(["/mnt"], ["tport=1", "", "tport=2,,uid=3"])
    assert (found.parameters.tport, found.ownership.uid) == (2, 3)


def test_users_by_name() -> None:
    assert options("uid=root,gid=root").ownership == Ownership(0, 0)


def test_what_others_get() -> None:
    found = options("ro,nosuid,nodev,noexec,noatime,sync,dirsync")
    assert found.fuse == {"ro", "nosuid", "nodev", "noexec", "noatime", "sync", "dirsync"}


def test_what_means_nothing_here() -> None:
    found = options(
        "rw,suid,dev,exec,async,defaults,auto,noauto,user,users,nofail,_netdev,relatime,"
        "x-systemd.automount,x-systemd.requires=a,X-mount.mkdir,comment=b"
    )
    assert found == MountOptions("/mnt", parameters=found.parameters)


@pytest.mark.parametrize(
    "text",
    ["ro=1", "context=x", "tvqn=a", "uid=-1", "uid=4294967295", "mode=", "mode=-1", "mode=u+r"],
)
def test_bad_options(text: str) -> None:
    with pytest.raises(ConfigError):
        options(text)


def test_permissions() -> None:
    node, public, folder = Node(), Node(), Folder()
    node.access = Access.BOTH
    public.public = True
    closed = Folder()
    closed.public = False
    default, said = Ownership(0, 0), Ownership(0, 0, 0o660)
    assert [default.permissions(each) for each in (node, public, folder, closed)] == [
        0o600,
        0o444,
        0o755,
        0o700,
    ]
    assert [said.permissions(each) for each in (node, public, folder)] == [0o660, 0o440, 0o770]
