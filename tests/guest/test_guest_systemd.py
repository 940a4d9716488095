# SPDX-License-Identifier: BSD-3-Clause
"""Our units under systemd: see `scenario_systemd` and `scenario_systemd_boot`.

`make check` boots this machine's files once, with everything enabled and the disk that
`scenario_vofctl` has left. `make soak` makes a Debian
and has `make install` put vof into it, starts, kills and stops the units there, and reboots it.
"""

import pytest

from tests.guest import remote_disk, units
from tests.guest import scenario_systemd as inside
from tests.guest import scenario_systemd_boot as inside_boot
from tests.guest.debian import make_debian
from tests.guest.harness import CHECKOUT, Guest
from tests.guest.machine import Boot, Machine
from tests.guest.scenario_vofctl import KEPT
from tests.guest.units import DISK, FILE_SYSTEM, TARGET

pytestmark = pytest.mark.guest

DEVICE = str(remote_disk.DEVICE)
NOTHING = {"entries": [], "attached": False, "links": [], "nbdkit": 0, "vofctl": 0}
LETTERS = "ABCD"
RUNNING = {"ActiveState": "active", "Result": "success"}


@pytest.fixture(scope="module")
def debian() -> Machine:
    machine = Machine("systemd-debian", make_debian("debian"))
    units.furnish(machine.seed, programs=False)
    return machine


@pytest.fixture(scope="module")
def story(debian: Machine) -> Boot:
    """The Debian's first boot, on which everything happens."""
    return debian.boot("tests.guest.scenario_systemd", then="reboot", timeout=600)


@pytest.fixture(scope="module", params=["here", pytest.param("debian", marks=pytest.mark.soak)])
def booted(request: pytest.FixtureRequest) -> Boot:
    """A boot with everything enabled."""
    if request.param == "debian":
        request.getfixturevalue("story")
        machine: Machine = request.getfixturevalue("debian")
    else:
        before: Guest = request.getfixturevalue("vofctl_guest")
        before.result("keep")
        machine = Machine("systemd")
        units.furnish(machine.seed, programs=True, image=before.folder / KEPT)
        units.enable(machine.seed)
    return machine.boot("tests.guest.scenario_systemd_boot", timeout=400)


def is_running(unit: dict[str, str], restarts: int | None = 0) -> bool:
    """It runs, after so many restarts; None is for any number."""
    running = {key: unit[key] for key in RUNNING} == RUNNING
    return running and restarts in (None, int(unit["NRestarts"]))


def in_order(said: list[str], *words: str) -> None:
    """Each of these was said, and when it was last said after the one before."""
    found = [max(at for at, line in enumerate(said) if word in line) for word in words]
    assert found == sorted(found), said


# --- booted with everything enabled


@pytest.mark.parametrize("step", inside_boot.scenario.names)
def test_step_of_a_boot_passes(booted: Boot, step: str) -> None:
    booted.guest.result(step)


def test_systemd_finds_nothing_wrong(booted: Boot) -> None:
    assert booted.guest.result("verify")["verify"] == ""


def test_systemd_judges_the_sandboxes(booted: Boot) -> None:
    """The scores that docs/operating.md names."""
    lines = booted.guest.result("verify")["security"]
    scores = [line.split("service: ")[1].split()[0] for line in lines]
    text = (CHECKOUT / "docs/operating.md").read_text("utf-8")
    assert len(scores) == len(units.SERVICES)
    assert all(score in text for score in scores)


def test_a_boot_connects_before_it_mounts(booted: Boot) -> None:
    found = booted.guest.result("came_up")
    assert found["failed"] == ""
    assert all(is_running(found["units"][unit]) for unit in units.SERVICES)
    in_order(found["order"], f"{TARGET}: Started", f"{DISK}: Started", f"{FILE_SYSTEM}: Mounted")


def test_everything_is_usable_after_a_boot(booted: Boot) -> None:
    found = booted.guest.result("usable")
    assert found["names"] == dict.fromkeys(units.NAMES, units.WORDS)
    assert found["read"] == LETTERS
    assert found["source"] == DEVICE
    assert found["status"]["state"] == "connected"
    assert found["status"]["links"] == [str(remote_disk.BY_NAME), str(remote_disk.BY_ID)]
    assert found["metrics"].startswith("# HELP vof_info")
    assert found["reloaded"]


def test_a_target_that_hangs_does_not_keep_a_shutdown(booted: Boot) -> None:
    """Longer than a request may take, and what stopping a unit may. The file system goes first, the
    disk second, the target, which is on the same machine, last."""
    booted.guest.result("target_hangs")
    assert booted.guest.status == 0
    assert booted.shutdown < units.TIMEOUT + 90
    console = booted.guest.log.read_text("utf-8", "replace").splitlines()
    in_order(console, f"Unmounted {FILE_SYSTEM}", f"Stopped {DISK}", f"Stopped {TARGET}")


# --- started by hand


@pytest.mark.soak
@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(story: Boot, step: str) -> None:
    story.guest.result(step)


@pytest.mark.soak
def test_the_target_is_ready_and_reloads(story: Boot) -> None:
    found = story.guest.result("target")
    assert is_running(found)
    places = "127.0.0.1:15771 (tcp), 127.0.0.1:8549 (tcp)"
    assert found["StatusText"] == f"listening on {places}"
    assert found["metrics"].startswith("# HELP vof_info")


@pytest.mark.soak
def test_the_disk_is_there_when_its_unit_is(story: Boot) -> None:
    """fstab has wanted it since the boot, before there was a target: it may have been restarted."""
    found = story.guest.result("disk")
    assert is_running(found, restarts=None)
    assert found["StatusText"] == f"'{remote_disk.TVQN}' is {DEVICE}"
    assert found["links"] == [DEVICE, DEVICE]
    [disk] = found["status"]["disks"]
    assert disk["state"] == "connected"
    assert disk["metrics"].startswith("unix:/run/vof/")


@pytest.mark.soak
def test_the_files_are_seen_outside_their_unit(story: Boot) -> None:
    found = story.guest.result("files")
    assert is_running(found)
    assert found["read"] == LETTERS


@pytest.mark.soak
def test_fstab_mounts_it(story: Boot) -> None:
    found = story.guest.result("mount")
    assert (found["ActiveState"], found["source"]) == ("active", DEVICE)


# --- killed


@pytest.mark.soak
def test_a_killed_nbdkit(story: Boot) -> None:
    """Is started again by its supervisor: systemd hears nothing of it."""
    found = story.guest.result("kill_nbdkit")
    assert found["restarts"] == 1
    assert is_running(found["unit"], restarts=None)
    assert found["unit"] == found["before"]


@pytest.mark.soak
def test_a_killed_supervisor(story: Boot) -> None:
    """Is started again by systemd, below a file system that stays mounted."""
    found = story.guest.result("kill_supervisor")
    assert is_running(found["disk"], restarts=None)
    assert found["file system"]["ActiveState"] == "active"
    assert not [line for line in found["order"] if f"{FILE_SYSTEM}: Unmount" in line]


@pytest.mark.soak
def test_a_killed_mount(story: Boot) -> None:
    found = story.guest.result("kill_mount")
    assert is_running(found, restarts=1)
    assert found["read"] == LETTERS


@pytest.mark.soak
def test_a_killed_target(story: Boot) -> None:
    assert is_running(story.guest.result("kill_target"), restarts=1)


# --- stopped


@pytest.mark.soak
def test_stopping_the_disk_unmounts_first(story: Boot) -> None:
    found = story.guest.result("stop")
    in_order(
        found["order"],
        f"{FILE_SYSTEM}: Unmounted",
        f"{DISK}: disconnected",
        f"{DISK}: Stopped",
    )
    assert found["left"] == NOTHING
    for unit in ("disk", "file system"):
        assert (found[unit]["ActiveState"], found[unit]["Result"]) == ("inactive", "success")


@pytest.mark.soak
def test_stopping_the_files_unmounts_them(story: Boot) -> None:
    found = story.guest.result("stop_files")
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")
    assert not found["mounted"]


@pytest.mark.soak
def test_mounting_connects_first(story: Boot) -> None:
    found = story.guest.result("start_again")
    assert found["disk"]["ActiveState"] == "active"
    assert set(units.NAMES) <= set(found["names"])


@pytest.mark.soak
@pytest.mark.parametrize("booted", ["debian"], indirect=True)
def test_a_reboot_unmounts_before_it_disconnects(story: Boot, booted: Boot) -> None:
    """And the target, which is on the same machine, ends last."""
    assert story.guest.status == 0
    in_order(
        booted.guest.result("before"),
        f"{FILE_SYSTEM}: Unmounted",
        f"{DISK}: disconnected",
        f"{DISK}: Stopped",
        f"{TARGET}: Stopped",
    )
