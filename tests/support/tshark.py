# SPDX-License-Identifier: BSD-3-Clause
"""tshark with our dissector, and captures of the loopback interface by dumpcap.

A message is what the dissector tells of it, by the fields' names without their prefix. Nothing of
ours that decodes is used here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.loopback import PATIENCE

IN_ORDER = ("-o", "tcp.reassemble_out_of_order:TRUE")
"""For what was captured: a sender that moves between CPUs overtakes itself, on the loopback
interface too."""

DISSECTOR = Path(__file__).parents[2] / "wireshark" / "vof.lua"


@dataclass
class Shown:
    """One message."""

    frame: int
    stream: int
    fields: dict[str, str] = field(default_factory=dict)
    """As they are shown, but ``data``, which is in hexadecimal."""
    descriptors: list[dict[str, int]] = field(default_factory=list)
    experts: list[str] = field(default_factory=list)

    def number(self, name: str) -> int:
        return int(self.fields[name], 0)


def dissect(file: Path, *options: str) -> list[Shown]:
    """Return the messages that tshark finds in a capture."""
    ran = subprocess.run(
        [
            *("tshark", "-n", "-X", f"lua_script:{DISSECTOR}", "-r", file, "-T", "pdml"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Lua" not in ran.stderr, ran.stderr
    assert "Lua Error" not in ran.stdout
    return [
        shown for packet in ET.fromstring(ran.stdout).iter("packet") for shown in _messages(packet)
    ]


def _messages(packet: ET.Element) -> Iterator[Shown]:
    values = {each.get("name"): each.get("show", "") for each in packet.iter("field")}
    for proto in packet.iter("proto"):
        if proto.get("name") != "vof":
            continue
        shown = Shown(int(values["num"]), int(values["tcp.stream"]))
        for each in proto:
            name = each.get("name", "").removeprefix("vof.")
            if name == "descriptor":
                shown.descriptors.append(
                    {
                        part.get("name", "").removeprefix("vof.descriptor_"): int(
                            part.get("show", ""), 0
                        )
                        for part in each
                    }
                )
            elif name:
                shown.fields[name] = each.get("value" if name == "data" else "show", "")
        shown.experts = [
            each.get("show", "")
            for each in proto.iter("field")
            if each.get("name") == "_ws.expert.message"
        ]
        yield shown


@contextmanager
def capturing(file: Path, port: int) -> Iterator[None]:
    """Capture what is said on a TCP port of this machine, all of it, into a pcapng file."""
    capture = subprocess.Popen(
        ["dumpcap", "-q", "-i", "lo", "-f", f"port {port}", "-B", "64", "-w", file],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert capture.stderr is not None
    try:
        # It names its file once it captures.
        said = list(takewhile(lambda line: not line.startswith("File: "), capture.stderr))
        assert capture.poll() is None, f"dumpcap does not capture: {said}"
        yield
        _wait_for_all(file, port)
    finally:
        capture.send_signal(signal.SIGINT)
        capture.communicate(timeout=PATIENCE)


def _wait_for_all(file: Path, port: int) -> None:
    """Wait until what was sent before this is in the file: until a last word is."""
    last = os.urandom(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(last, ("127.0.0.1", port))
    end = time.monotonic() + PATIENCE
    while last not in file.read_bytes():
        assert time.monotonic() < end, "the capture does not come to its end"
        time.sleep(0.05)
