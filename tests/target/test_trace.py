# SPDX-License-Identifier: BSD-3-Clause
"""vof-target --trace: what initiators say and are told, on stderr as it passes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.target.conftest import config_file
from tests.target.peer import BLOCK0, IN, OK, OUT, PATIENCE, Association, Peer
from tests.target.process import COMMAND, TargetProcess


def test_requests_are_served_and_shown(tmp_path: Path) -> None:
    with TargetProcess("--trace", config_file(tmp_path)) as process:
        with Association(process.address) as association:
            assert association.control.control(0x1001) == 2
            assert association.queue.request(OUT, 0, b"x" * 512) == (OK, b"")
            assert association.queue.request(IN, 0, room=512) == (OK, b"x" * 512)
            process.line(f"0 ctl   → connect .*tvqn {BLOCK0}")
            process.line("0 ctl   ← get_device_id .*ok; block")
            process.line("1 vq0   → vring .*block OUT .*bytes 512")
            process.line("1 vq0   ← vring .*device status OK")
            process.line("1 vq0   → vring .*block IN .*bytes 512")
            process.line("1 vq0   ← vring .*device status OK")
        process.line(" closed ")
        assert process.stop() == 0
    assert not any("event=" in line for line in process.log)


def test_what_is_none_of_the_protocol(tmp_path: Path) -> None:
    with TargetProcess("--trace", config_file(tmp_path)) as process:
        with Peer(process.address) as peer:
            peer.send(b"\xff" * 16)
            assert peer.is_closed()
        process.line("opcode 0xffff is not one of dialect proposal or v2 or v5")
        process.line("event=violation")
        with Association(process.address) as association:
            assert association.control.control(0x1001) == 2
        assert process.stop() == 0


def test_the_native_path_cannot_be_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--trace", config_file(tmp_path)],
        env=os.environ | {"VOF_FABRIC": "native"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "vof-target: VOF_FABRIC=native, but a trace takes the data path in Python\n"
    )
