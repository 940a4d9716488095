# SPDX-License-Identifier: BSD-3-Clause
"""What `make install` puts where, and that the units run what there is."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from vof.gateways.cli import arguments as control_program
from vof.gateways.fuse import arguments as mount
from vof.target import cli as target

ROOT = Path(__file__).resolve().parents[2]
UNITS = ["vof-connect@.service", "vof-mount@.service", "vof-target.service"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything but the Python environment, which takes minutes and the network."""
    folder = tmp_path_factory.mktemp("destdir")
    subprocess.run([ROOT / "tools/install.sh", folder, "files"], check=True)
    return folder


def test_each_has_its_place(installed: Path) -> None:
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    pages = {f"usr/share/man/man{path.suffix[1:]}/{path.name}" for path in ROOT.glob("man/*.[1-8]")}
    assert found == pages | {
        "usr/lib/udev/rules.d/70-vof.rules",
        "usr/lib/udev/vof_id",
        *(f"usr/lib/systemd/system/{unit}" for unit in (*UNITS, "vof-disk@.target")),
        "usr/lib/tmpfiles.d/vof.conf",
        *(f"usr/share/doc/vof/{name}" for name in ("README.md", "CHANGELOG.md", "LICENSE")),
        *(f"usr/share/doc/vof/docs/{path.name}" for path in ROOT.glob("docs/*.*")),
        *(f"usr/share/doc/vof/examples/{name}.conf" for name in ("vof", "target")),
    }


def test_only_the_program_can_be_run(installed: Path) -> None:
    runnable = {path.name for path in installed.rglob("*") if path.is_file() and is_runnable(path)}
    assert runnable == {"vof_id"}


def is_runnable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o111)


def unit(installed: Path, name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(installed / "usr/lib/systemd/system" / name)
    return parser


@pytest.mark.parametrize("name", UNITS)
def test_units_run_nothing_that_a_small_debian_lacks(installed: Path, name: str) -> None:
    """kill(1) is of procps, which is not everywhere that systemd is."""
    service = unit(installed, name)["Service"]
    programs = {
        words.split()[0].lstrip("-") for key, words in service.items() if key.startswith("Exec")
    }
    assert programs <= {"vofctl", "vof-mount", "vof-target", "systemctl"}


@pytest.mark.parametrize("name", UNITS)
def test_units_run_programs_as_they_are(installed: Path, name: str) -> None:
    """With their options, and without a shell."""
    service = unit(installed, name)["Service"]
    assert service["Type"] == "notify"
    program, *words = shlex.split(service["ExecStart"].replace("%i", "disk0"))
    parser = {
        "vofctl": control_program.arguments,
        "vof-mount": mount.arguments,
        "vof-target": target._arguments,
    }[program]()
    parser.parse_args(words)


@pytest.mark.parametrize("name", UNITS)
def test_units_can_use_rdma(installed: Path, name: str) -> None:
    """Its memory is locked, and verbs ask the kernel for its devices by netlink."""
    service = unit(installed, name)["Service"]
    assert service["LimitMEMLOCK"] == "infinity"
    assert "AF_NETLINK" in service["RestrictAddressFamilies"].split()
    assert "PrivateDevices" not in service


def test_disks_are_there_before_what_is_mounted_from_them(installed: Path) -> None:
    """And at shutdown they go after it."""
    section = unit(installed, "vof-connect@.service")["Unit"]
    assert "remote-fs-pre.target" in section["Before"].split()
    assert "network-online.target" in section["After"].split()


def test_a_restart_of_a_disk_does_not_reach_what_is_mounted_from_it(installed: Path) -> None:
    """Only a stop does. fstab names the target, which must not need the service more than so."""
    target = unit(installed, "vof-disk@.target")["Unit"]
    assert target["Wants"] == target["After"] == "vof-connect@%i.service"
    assert not {"Requires", "BindsTo", "PartOf"} & set(target)
    service = unit(installed, "vof-connect@.service")
    assert service["Service"]["ExecStop"] == "-systemctl stop vof-disk@%i.target"
    assert not [key for key in service["Unit"] if key.startswith("Propagates")]


def test_a_mount_is_not_hidden_in_a_namespace(installed: Path) -> None:
    service = unit(installed, "vof-mount@.service")["Service"]
    assert not [key for key in service if re.match(r"Protect|Private|ReadOnly|ReadWrite", key)]


@pytest.mark.parametrize("name", ["vof", "target"])
def test_examples_can_be_used(installed: Path, name: str, tmp_path: Path) -> None:
    path = installed / f"usr/share/doc/vof/examples/{name}.conf"
    text = path.read_text().replace("/var/lib/vof/disk0.img", str(tmp_path / "disk0.img"))
    (tmp_path / "disk0.img").write_bytes(bytes(1 << 20))
    copy = tmp_path / path.name
    copy.write_text(text)
    check = ["vof-target", "--check"] if name == "target" else ["vofctl", "validate"]
    run = subprocess.run([*check, copy], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
