# SPDX-License-Identifier: BSD-3-Clause
"""connect, connect-all, list, status and disconnect, as far as they need no kernel with nbd."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateways.cli.conftest import Run
from vof.errors import ConnectError, WrongDevice
from vof.gateways.attach import ending
from vof.gateways.attach.nbd import nbdkit
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.state import Claim, Record, StateFolder
from vof.gateways.cli import connect, connect_all, devices, disconnect

TVQN = "virtio-target/block/disk0.service"
STRING = f"command=create,transport=tcp,taddr=h,tvqn={TVQN}"

DISK_KEYS = {
    *("name", "state", "device", "size", "tvqn", "target", "read_only", "identifier", "links"),
    *("uses", "connections", "fast_path", "supervisor", "nbdkit", "since", "restarts", "error"),
    *("metrics", "settings", "state_since", "fast_path_reason"),
}
"""Of a disk in `status -o json`: keys may be added, and none goes or changes its meaning."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setenv("VOF_STATE_DIR", str(tmp_path / "state"))
    return StateFolder()


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel that shows one attached disk, mounted."""
    block = tmp_path / "sys/block/nbd0"
    block.mkdir(parents=True)
    for name, text in (("dev", "43:0"), ("backend", "vof:disk0:s"), ("size", "8")):
        (block / name).write_text(f"{text}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("1 1 43:0 / /mnt rw - ext4 /dev/nbd0 rw\n")
    shown = Kernel(tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")
    for module in (connect, connect_all, devices, disconnect):
        monkeypatch.setattr(module, "Kernel", lambda: shown)
    for module in (connect, connect_all):
        monkeypatch.setattr(module, "load_nbd", lambda: None)
    monkeypatch.setattr(nbdkit, "filter_path", lambda: Path("/filter.so"))
    return shown


@pytest.fixture
def attached(folder: StateFolder, kernel: Kernel) -> Iterator[Claim]:
    claim = folder.claim(None, "disk0", TVQN, "h:15771")
    settings = [{"key": "taddr", "value": "h", "origin": "command line"}]
    claim.write(
        Record(
            "disk0",
            TVQN,
            "h:15771",
            "connected",
            device=str(kernel.dev / "nbd0"),
            identifier="vof:disk0:s",
            size=4096,
            connections=4,
            metrics=f"unix:{folder.path}/devices/disk0/metrics.sock",
            settings=settings,
        )
    )
    yield claim
    claim.release()


# connect


@pytest.mark.parametrize("words", [(TVQN, "--taddr", "h"), (STRING,)])
def test_dry_run(run: Run, folder: StateFolder, words: tuple[str, ...]) -> None:
    status, output, _errors = run("connect", *words, "--dry-run", "-o", "json")
    found = json.loads(output)
    assert status == 0
    assert set(found) == {
        *("schema", "nbdkit", "name", "device", "connections"),
        *("kernel_timeout", "dead_connection_timeout", "settings"),
    }
    assert found["schema"] == 1
    assert found["name"] == "disk0"
    assert {"--filter=/filter.so", f"tvqn={TVQN}", "taddr=h", "block_path=yes"} <= set(
        found["nbdkit"]
    )
    assert "metrics=unix:/run/vof/devices/disk0/metrics.sock" in found["nbdkit"]
    assert not folder.path.exists()


def test_metrics_where_the_settings_say(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vof.conf").write_text(f"[device d]\ntvqn = {TVQN}\nmetrics = [::1]:9100\n")
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    status, output, _errors = run("connect", "d", "--dry-run", "-o", "json")
    assert status == 0
    told = [word for word in json.loads(output)["nbdkit"] if word.startswith("metrics=")]
    assert told == ["metrics=[::1]:9100"]


def test_dry_run_in_words(run: Run) -> None:
    status, output, _errors = run(
        "connect", TVQN, "--dry-run", "--filter", "off", "--device", "/dev/nbd5", "--readonly"
    )
    assert status == 0
    lines = dict(line.split(": ", 1) for line in output.decode().splitlines())
    assert lines["device"] == "/dev/nbd5"
    assert "--filter" not in lines["nbdkit"]
    assert " -r " in lines["nbdkit"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((TVQN, "--name", "a b"), "cannot be a name"),
        ((TVQN, "--name", "a/b"), "cannot be a name"),
        ((TVQN, "--device", "/dev/sda"), "not an nbd device"),
        ((TVQN, "--connections", "17"), "connections=17"),
        ((TVQN, "--filter", "maybe"), "filter=maybe"),
        ((TVQN, "--timeout", "0", "--connections", "2"), "connections=2 with timeout=0"),
        ((STRING.replace("create", "destroy"),), f"vofctl disconnect {TVQN}"),
        (("command=create",), "tvqn= is missing"),
        ((), "no device is named"),
    ],
)
def test_what_cannot_be_connected(run: Run, words: tuple[str, ...], told: str) -> None:
    status, output, errors = run("connect", *words, "--dry-run")
    assert (status, output) == (2, b"")
    assert told in errors
    assert len(errors.splitlines()) == 1


def test_nbdkit_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)
    status, _output, errors = run("connect", TVQN, "--dry-run")
    assert status == 2
    assert "install nbdkit and nbdkit-plugin-python" in errors


def test_the_same_disk_again(run: Run, attached: Claim) -> None:
    status, output, errors = run("connect", TVQN, "--taddr", "h")
    assert (status, output) == (5, b"")
    assert f"'{TVQN}' at h:15771 is connected already, as {attached.folder.name}" in errors


def test_without_privilege(run: Run, folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    status, _output, errors = run("connect", TVQN)
    assert status == 7
    assert f"cannot write {folder.path}: Permission denied; it takes root" in errors


# connect-all


class StandIn:
    """A supervisor whose outcome is there at once."""

    def __init__(self, plan: Plan, _folder: StateFolder, _kernel: Kernel) -> None:
        self._name = plan.name or ""
        self.pid = os.getpid()
        self._reading, writing = os.pipe()
        os.close(writing)

    def fileno(self) -> int:
        return self._reading

    def outcome(self) -> Record:
        os.close(self._reading)
        if self._name.startswith("dead"):
            raise ConnectError("nobody there")
        if self._name.startswith("rng"):
            raise WrongDevice(f"'t/{self._name}' is a virtio-rng, not a virtio-blk")
        return Record(self._name, "t", "h:1", "connected", device=f"/dev/{self._name}")


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def write(*names: str, more: str = "") -> None:
        text = "".join(f"[device {name}]\ntvqn = t/{name}\n" for name in names) + more
        (tmp_path / "vof.conf").write_text(text)
        monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))

    for module in (connect, connect_all):
        monkeypatch.setattr(module, "Launch", StandIn)
    return write


def test_all_that_is_configured(run: Run, configured: Callable[..., None]) -> None:
    configured("one", "dead", "two")
    status, output, errors = run("connect-all")
    assert status == 4
    assert sorted(output.decode().split()) == ["/dev/one", "/dev/two", "one", "two"]
    assert errors == "vofctl: dead: nobody there\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("words", [("connect", "one"), ("connect-all",)])
@pytest.mark.parametrize("form", ["text", "json"])
def test_progress_is_for_people(
    run: Run,
    configured: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    form: str,
) -> None:
    configured("one")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(*words, "-o", form)[0] == 0
    drawn = "" if form == "json" else "\r\x1b[Kone: starting (0 s)\r\x1b[K"
    assert terminal.getvalue() == drawn


def test_what_is_connected_is_left_alone(
    run: Run, configured: Callable[..., None], attached: Claim
) -> None:
    configured(attached.folder.name, "one")
    status, output, _errors = run("connect-all", "-o", "json")
    assert status == 0
    assert [disk["name"] for disk in json.loads(output)["connected"]] == ["one"]


def test_a_device_that_is_no_disk(run: Run, configured: Callable[..., None]) -> None:
    configured("one", "rng0")
    status, output, errors = run("connect-all")
    assert (status, output) == (2, b"/dev/one one\n")
    assert errors == (
        "vofctl: rng0: 't/rng0' is a virtio-rng, not a virtio-blk: NBD takes disks only; vof-mount "
        "shows an rng or crypto device as files ([mount NAME]), and auto=no in [device rng0] "
        "leaves it out here\n"
    )
    status, output, errors = run("connect", "rng0")
    assert (status, output) == (2, b"")
    assert errors.startswith("vofctl: 't/rng0' is a virtio-rng, not a virtio-blk: NBD takes disks")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "connected"),
    [
        ("auto = no\n", ["one"]),
        ("[defaults]\nauto = no\n[device two]\ntvqn = t/two\nauto = yes\n", ["two"]),
    ],
)
def test_a_device_that_is_to_be_left_alone(
    run: Run, configured: Callable[..., None], more: str, connected: list[str]
) -> None:
    configured("one", "rng0", more=more)
    status, output, errors = run("connect-all", "-o", "json")
    assert (status, errors) == (0, "")
    assert [disk["name"] for disk in json.loads(output)["connected"]] == connected


def test_nothing_is_to_be_connected(
    run: Run, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is wanted of the kernel, either."""
    monkeypatch.setattr(connect_all, "load_nbd", lambda: pytest.fail("not to be loaded"))
    configured("rng0", more="auto = no\n")
    assert run("connect-all") == (0, b"", "")


# list and status


def one_disk(output: bytes) -> dict[str, Any]:
    found = json.loads(output)
    assert set(found) == {"schema", "disks"}
    assert found["schema"] == 1
    [disk] = found["disks"]
    assert isinstance(disk, dict)
    return disk


def test_list(run: Run, attached: Claim) -> None:
    status, output, _errors = run("list", "-o", "json")
    disk = one_disk(output)
    assert status == 0
    assert set(disk) == {"name", "state", "device", "size", "tvqn", "target"}
    _status, output, _errors = run("list")
    heading, line = output.decode().splitlines()
    assert heading.split() == ["NAME", "STATE", "DEVICE", "SIZE", "TVQN", "TARGET"]
    assert line.split()[:2] == [attached.folder.name, "connected"]


@pytest.mark.usefixtures("attached")
def test_nothing_attached(run: Run, attached: Claim) -> None:
    attached.release()
    assert run("list") == (0, b"", "")
    assert json.loads(run("status", "-o", "json")[1]) == {"schema": 1, "disks": []}
    attached._lock = os.open("/", os.O_RDONLY)  # for the fixture to close


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("by", ["disk0", TVQN, "nbd0"])
def test_status(run: Run, by: str) -> None:
    status, output, _errors = run("status", by, "-o", "json")
    disk = one_disk(output)
    assert status == 0
    assert set(disk) == DISK_KEYS
    assert disk["uses"] == ["mounted on /mnt"]
    assert disk["supervisor"] == os.getpid()
    assert disk["metrics"].endswith("/devices/disk0/metrics.sock")
    _status, output, _errors = run("status", by)
    assert b"taddr    h      command line" in output


def test_a_disk_whose_session_is_lost(run: Run, attached: Claim) -> None:
    since = "2024-01-02T03:04:05+00:00"
    record = Record(
        *("disk0", TVQN, "h:15771", "lost"),
        state_since=since,
        error="h:15771: connection lost: closed by the target",
        fast_path_reason="over RDMA requests go through Python",
    )
    attached.write(record)
    assert one_disk(run("list", "-o", "json")[1])["state"] == "lost"
    disk = one_disk(run("status", "-o", "json")[1])
    assert (disk["state"], disk["state_since"], disk["error"]) == ("lost", since, record.error)
    assert (disk["fast_path"], disk["fast_path_reason"]) == (False, record.fast_path_reason)
    lines = run("status")[1].decode().splitlines()
    assert {
        "state: lost",
        f"state_since: {since}",
        f"error: {record.error}",
        f"fast_path: no ({record.fast_path_reason})",
    } <= set(lines)


def test_a_stale_disk(run: Run, attached: Claim) -> None:
    os.close(attached._lock)
    assert one_disk(run("list", "-o", "json")[1])["state"] == "stale"
    attached._lock = os.open("/", os.O_RDONLY)


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("verb", ["status", "disconnect"])
def test_a_disk_that_is_not_there(run: Run, verb: str) -> None:
    status, output, errors = run(verb, "disk9")
    assert (status, output) == (6, b"")
    assert errors == "vofctl: no disk 'disk9' is attached; did you mean 'disk0'?\n"
    status, output, errors = run(verb, "x")
    assert (status, output) == (6, b"")
    assert errors == "vofctl: no disk 'x' is attached; there are: disk0\n"


@pytest.mark.parametrize(
    "verb", [("list",), ("status",), ("disconnect", "--all"), ("connect", "x")]
)
def test_another_versions_state(run: Run, folder: StateFolder, verb: tuple[str, ...]) -> None:
    folder.path.mkdir()
    (folder.path / "schema").write_text("7\n")
    status, output, errors = run(*verb)
    assert (status, output) == (2, b"")
    assert "is of another version of vof (schema 7" in errors


# disconnect


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("words", [("disk0",), ("--all",)])
def test_a_disk_in_use(run: Run, words: tuple[str, ...]) -> None:
    status, _output, errors = run("disconnect", *words)
    assert status == 5
    assert "is in use: mounted on /mnt; end that first, or" in errors


@pytest.mark.parametrize("words", [(), ("disk0", "--all")])
def test_one_or_all(run: Run, words: tuple[str, ...]) -> None:
    status, _output, errors = run("disconnect", *words)
    assert status == 2
    assert "name one disk, or say --all" in errors


def test_a_stale_disk_is_taken_back(
    run: Run, attached: Claim, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor was killed: the kernel's device is detached here."""
    detached = []

    class Netlink:
        def __enter__(self) -> Netlink:
            return self

        def __exit__(self, *_error: object) -> None: ...

        def disconnect(self, index: int) -> None:
            detached.append(index)
            (kernel.sys / "block/nbd0/backend").unlink()

    (kernel.sys / "block/nbd0/uevent").touch()
    monkeypatch.setattr(ending, "NbdNetlink", Netlink)
    os.close(attached._lock)
    status, output, _errors = run("disconnect", "disk0", "--force", "-o", "json")
    assert status == 0
    assert json.loads(output) == {"schema": 1, "disconnected": ["disk0"]}
    assert detached == [0]
    assert run("list") == (0, b"", "")
    attached._lock = os.open("/", os.O_RDONLY)
