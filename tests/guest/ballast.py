# SPDX-License-Identifier: BSD-3-Clause
"""A file's worth of random bytes, which dd writes past the caches while something happens to its
device.
"""

import hashlib
import random
import subprocess
from pathlib import Path

from tests.guest import nbd
from tests.guest.steps import wait_until

MIB = 1 << 20
SIZE = 8 * MIB
_SOON = MIB // 4


class Ballast:
    """The file of that name in a file system, which is on the nbd device."""

    def __init__(self, name: str, mountpoint: Path, device: Path) -> None:
        self.path = mountpoint / name
        self.device = device
        self.source = Path("/run", f"{name}.ballast")
        self.source.write_bytes(random.Random(name).randbytes(SIZE))

    def start(self) -> subprocess.Popen[str]:
        """Start writing; return once some is there."""
        before = nbd.written(self.device)
        options = ("bs=16k", "oflag=direct", "status=none")
        process = subprocess.Popen(
            ("dd", f"if={self.source}", f"of={self.path}", *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until("the first writes", lambda: nbd.written(self.device) > before + _SOON, 40)
        return process

    def same(self) -> bool:
        """Whether the file is as it should be."""
        return _digest(self.path) == _digest(self.source)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
