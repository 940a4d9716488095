# SPDX-License-Identifier: BSD-3-Clause
"""Every verb of vofctl, loaded when it is used.

`disconnect` has to work soon on a machine that is in trouble, and does not wait for what others
need.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

OVERVIEW = "vofctl"
"""The page of all verbs, and of those that need none of their own."""

# ruff: noqa: PLC0415


def _connect(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import connect

    connect.add_options(parser)


def _connect_all(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import connect_all

    connect_all.add_options(parser)


def _disconnect(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import disconnect

    disconnect.add_options(parser)


def _list(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import devices

    devices.add_list_options(parser)


def _status(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import devices

    devices.add_status_options(parser)


def _bench(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import bench

    bench.add_options(parser)


def _info(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import info

    info.add_options(parser)


def _doctor(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import doctor

    doctor.add_options(parser)


def _validate(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import validate

    validate.add_options(parser)


def _crypto(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import crypto

    crypto.add_verbs(parser)


def _decode(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import decode

    decode.add_options(parser)


def _filter(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import filter as nbdkit_filter

    nbdkit_filter.add_verbs(parser)


def _top(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli import top

    top.add_options(parser)


def _completion(parser: argparse.ArgumentParser) -> None:
    from vof.gateways.cli.completion import verb as completion

    completion.add_options(parser)


class Verb(NamedTuple):
    """A verb, or a group of verbs."""

    text: str
    """What it is for."""
    add: Callable[[argparse.ArgumentParser], None]
    """Gives it its options, or its verbs."""
    page: str = OVERVIEW
    """The manual page that describes it, in section 8."""


VERBS = {
    "connect": Verb("attach a remote disk to this kernel", _connect, "vofctl-connect"),
    "connect-all": Verb("attach every disk of vof.conf", _connect_all, "vofctl-connect"),
    "disconnect": Verb("detach a disk", _disconnect),
    "list": Verb("list attached disks", _list),
    "status": Verb("show all of an attached disk", _status),
    "info": Verb("tell what a device is", _info),
    "bench": Verb("measure a block device, by reading", _bench, "vofctl-bench"),
    "doctor": Verb("find what keeps this machine from using devices", _doctor),
    "validate": Verb("look for mistakes in the configuration", _validate),
    "crypto": Verb("encrypt, sign and digest on a virtio-crypto", _crypto, "vofctl-crypto"),
    "decode": Verb("print a capture or a recording", _decode, "vofctl-decode"),
    "filter": Verb("make nbdkit's fast path for this machine", _filter),
    "top": Verb("show what running programs do", _top, "vofctl-top"),
    "completion": Verb("print what completes command lines in a shell", _completion),
}
