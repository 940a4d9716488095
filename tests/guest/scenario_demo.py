# SPDX-License-Identifier: BSD-3-Clause
"""The demonstration in a kernel with nbd. `tests/nbd/test_demo.py` runs it in this machine's."""

from pathlib import Path
from typing import Any

from tests.guest import nbd, tree
from tests.guest.steps import Scenario, run

scenario = Scenario()

DEVICE = Path("/dev/nbd0")


@scenario.step()
def prepare() -> int:
    """The files that it copies; how many."""
    run("modprobe", "nbd", "nbds_max=2")
    run("modprobe", "loop")
    return tree.stage()


@scenario.step(needs=("prepare",), timeout=180)
def demo() -> dict[str, Any]:
    """Run it, and look what it leaves; what is its own has its folder in the name."""
    folder = Path("/run/demo")  # not /tmp, where those of the host's would be seen, too
    folder.mkdir()
    output = run("env", f"TMPDIR={folder}", "python", "tools/demo.py", "--tree", tree.STAGED)
    commands = [command.read_bytes() for command in Path("/proc").glob("[0-9]*/cmdline")]
    return {
        "output": output,
        "processes": [command.decode() for command in commands if bytes(folder) in command],
        "mounts": Path("/proc/mounts").read_text("utf-8").count(f"{folder}"),
        "files": [str(path) for path in folder.iterdir()],
        "attached": nbd.is_attached(DEVICE),
    }


if __name__ == "__main__":
    scenario.main()
