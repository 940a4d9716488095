# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's nbd devices, in a picture of /sys and /proc."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vof.errors import ConfigError, VofError
from vof.gateways.attach.nbd.blockdev import (
    BlockDevice,
    Kernel,
    attach_once_closed,
    index_of_link,
    parse_device,
    wait_for_receivers,
    wait_for_size,
    wait_until_free,
)

MOUNTS = """\
22 1 0:21 / / rw shared:1 - 9p /dev/root rw
30 22 43:0 / /mnt/a\\040b rw - ext4 /dev/nbd0 rw
31 22 43:1 /sub /mnt/диск\u2028\x85 rw - ext4 /dev/nbd0p1 rw
32 22 43:32 / /mnt/other rw - ext4 /dev/nbd1 rw
"""
SWAPS = """\
Filename Type Size Used Priority
/dev/nbd0p2 partition 1 0 -2
/dev/sda1 partition 1 0 -3
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """nbd0 attached with two partitions and in use, nbd1 free, and something else."""
    block = tmp_path / "sys/block"
    for name, number in (("nbd0", "43:0"), ("nbd1", "43:32"), ("nbdx", "1:1"), ("sda", "8:0")):
        (block / name / "holders").mkdir(parents=True)
        (block / name / "dev").write_text(f"{number}\n")
    for part, number in (("nbd0p1", "43:1"), ("nbd0p2", "43:2")):
        (block / "nbd0" / part / "holders").mkdir(parents=True)
        (block / "nbd0" / part / "dev").write_text(f"{number}\n")
    (block / "nbd0" / "size").write_text("2048\n")
    (block / "nbd1" / "size").write_text("0\n")
    (block / "nbd0" / "pid").write_text("77\n")
    (block / "nbd0" / "backend").write_text("vof:disk0:serial\n")
    (block / "nbd0" / "uevent").touch()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS, encoding="utf-8")
    (tmp_path / "proc/swaps").write_text(SWAPS)
    (tmp_path / "dev").mkdir()
    return Kernel(tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")


def thread(kernel: Kernel, number: int, name: str) -> None:
    folder = kernel.proc / str(number)
    folder.mkdir()
    (folder / "comm").write_text(f"{name}\n")


def test_devices_and_what_they_are(kernel: Kernel) -> None:
    attached, free = kernel.devices()
    assert (attached.name, free.name) == ("nbd0", "nbd1")
    assert (attached.size, free.size) == (1 << 20, 0)
    assert (attached.is_attached, free.is_attached) == (True, False)
    assert (attached.identifier, free.identifier) == ("vof:disk0:serial", "")
    assert kernel.device(9).size == 0


def test_uses(kernel: Kernel) -> None:
    (kernel.sys / "block/nbd0/nbd0p1/holders/dm-0").mkdir()
    swap = (kernel.proc / "swaps").read_text().replace("/dev/nbd0p2", f"{kernel.dev}/nbd0p2")
    (kernel.proc / "swaps").write_text(swap)
    attached, _free = kernel.devices()
    assert {use.how for use in attached.uses()} == {
        "mounted on /mnt/a b",
        "mounted on /mnt/диск\u2028\x85",
        f"swap ({kernel.dev}/nbd0p2)",
        "held by /dev/dm-0",
    }
    assert [use.how for use in kernel.device(1).uses()] == ["mounted on /mnt/other"]


def test_receivers(kernel: Kernel) -> None:
    """Threads of this device, and no rescuer, which is called after its queue alone."""
    for number, name in enumerate(
        ("kworker/u9:0+nbd0-recv", "kworker/u9:1+nbd0-recv", "nbd0-recv", "kworker/u9:2+nbd10-recv")
    ):
        thread(kernel, number + 10, name)
    device = kernel.device(0)
    assert device.receivers() == 2
    assert wait_for_receivers(device, 2, 0)
    assert not wait_for_receivers(device, 3, 0)


@pytest.mark.parametrize(("ready", "arguments"), [(True, ["VOF=ready"]), (False, [])])
def test_announce(kernel: Kernel, ready: bool, arguments: list[str]) -> None:
    """The disk, and each of its partitions, in the words that 70-vof.rules waits for."""
    partition = kernel.sys / "block/nbd0/nbd0p1"
    partition.mkdir(exist_ok=True)
    kernel.device(0).announce(ready=ready)
    for folder in (partition.parent, partition):
        words = (folder / "uevent").read_text().split()
        assert (words[0], words[2:]) == ("change", arguments)
    with pytest.raises(VofError, match="nbd5"):
        kernel.device(5).announce(ready=ready)


def test_a_size_that_does_not_come(kernel: Kernel) -> None:
    with pytest.raises(VofError, match="0 bytes, not 512"):
        wait_for_size(kernel.device(1), 512, 0)


def test_until_free(kernel: Kernel) -> None:
    device = kernel.device(0)
    assert not wait_until_free(device, 2)  # in use: at once
    (kernel.proc / "self/mountinfo").unlink()
    timer = threading.Timer(0.01, (device.folder / "pid").unlink)
    timer.start()
    assert wait_until_free(device, 2)
    timer.join()
    (device.folder / "pid").touch()
    assert not wait_until_free(device, 0)


@pytest.mark.parametrize("text", ["/dev/sda", "nbd", "/dev/nbd01", "/dev/nbd0p1", "nbd-1", ""])
def test_what_is_no_nbd_device(text: str) -> None:
    with pytest.raises(ConfigError, match="not an nbd device"):
        parse_device(text)


def test_devices_by_name_and_by_link(kernel: Kernel) -> None:
    assert parse_device("/dev/nbd12") == parse_device("nbd12") == 12
    (kernel.dev / "nbd3").touch()
    (kernel.dev / "link").symlink_to("nbd3")
    assert index_of_link(str(kernel.dev / "link"), kernel) == 3
    assert index_of_link("/etc/hostname", kernel) is None
    assert index_of_link("a/b/c.service", kernel) is None


def test_a_device_is_equal_to_itself(kernel: Kernel) -> None:
    assert kernel.device(0) == BlockDevice(kernel, 0)


def busy(times: int) -> Callable[[], int]:
    """What the kernel says so often before it attaches."""
    answers = iter([*[ConfigError("in use", errno=errno.EBUSY)] * times, None])

    def attach() -> int:
        if answer := next(answers):
            raise answer
        return 7

    return attach


def test_a_device_that_is_only_open_is_waited_for(kernel: Kernel) -> None:
    assert attach_once_closed(busy(3), kernel.device(1), 10) == 7
    with pytest.raises(ConfigError):
        attach_once_closed(busy(1), kernel.device(1), 0)


def test_a_device_in_use_is_not_waited_for(kernel: Kernel) -> None:
    """Nor any, when the kernel was to choose one."""
    for device in (kernel.device(0), None):
        with pytest.raises(ConfigError):
            attach_once_closed(busy(1), device, 10)
