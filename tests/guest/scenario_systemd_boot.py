# SPDX-License-Identifier: BSD-3-Clause
"""A machine with all our units enabled, from its boot until it is switched off while its target
does not answer any more. Before that it may have been rebooted, by `scenario_systemd`."""

from typing import Any

from tests.guest import units
from tests.guest.remote_disk import MOUNT, done
from tests.guest.steps import Scenario, run, wait_until
from tests.guest.units import (
    FILE_SYSTEM,
    FILES,
    RANDOM,
    SERVICES,
    TARGET,
    UNITS,
    properties,
    systemctl,
)

scenario = Scenario()


@scenario.step(timeout=300)
def came_up() -> dict[str, Any]:
    """Nobody has done anything for it."""
    wait_until(
        "the boot to be over",
        lambda: systemctl("is-system-running", check=False).strip() in ("running", "degraded"),
        280,
    )
    return {
        "units": {unit: properties(unit) for unit in (*SERVICES, FILE_SYSTEM)},
        "failed": systemctl("--failed", "--plain", "--no-legend"),
        "order": units.order("-b"),
    }


@scenario.step(timeout=120)
def before() -> list[str]:
    """The end of the boot before this one."""
    return units.order("-b", "-1")


@scenario.step(needs=("came_up",), timeout=120)
def usable() -> dict[str, Any]:
    with RANDOM.open("rb") as random:
        read = random.read(4).decode("latin-1")
    return {
        "names": {path.name: path.read_text() for path in MOUNT.iterdir() if path.is_file()},
        "read": read,
        "status": done("status", "disk0", "-o", "json").json["disks"][0],
        "source": run("findmnt", "-n", "-o", "SOURCE", MOUNT).strip(),
        **units.look_at_target(),
    }


@scenario.step(timeout=120)
def verify() -> dict[str, Any]:
    """What systemd itself thinks of them."""
    exposure = run("systemd-analyze", "security", "--no-pager", *SERVICES, check=False)
    return {
        "verify": run("systemd-analyze", "verify", "--man=no", *UNITS, check=False),
        "security": [line for line in exposure.splitlines() if "Overall exposure" in line],
    }


@scenario.step(needs=("usable",), timeout=60)
def target_hangs() -> dict[str, Any]:
    """It takes what is sent and says nothing, and there is something to be written."""
    (MOUNT / "last").write_bytes(bytes(1 << 20))
    systemctl("kill", "--signal=STOP", TARGET)
    return properties(FILES) | {"target": properties(TARGET), "timeout": units.TIMEOUT}


if __name__ == "__main__":
    scenario.main()
