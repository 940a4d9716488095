# SPDX-License-Identifier: BSD-3-Clause
"""Measures the cost of a dialect's choice to an opening: round trips, and time on loopback.

`python -m tests.bench.opening` opens a disk of one virtqueue with each `dialect=`, in turn, and
prints a table. A round trip is a connection made, or bytes sent after others were received: what an
opening waits for, whatever the distance. The orderly end that follows is not in it.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.load_generators import IMAGE_SIZE
from tests.bench.processes import target
from tests.bench.sides import TVQN, devices
from vof.drivers.block import BlockDriver
from vof.initiator.parameters import SessionParameters

DIALECTS = ("proposal", "v5", "auto")


class Relay:
    """Passes connections on to a port, and counts what waits for an answer."""

    def __init__(self, port: int) -> None:
        self.round_trips = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near = self._listener.accept()[0]
            self.round_trips += 1
            far = socket.create_connection(("127.0.0.1", self._port))
            answered = threading.Event()
            answered.set()
            for pair in ((near, far, answered, True), (far, near, answered, False)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, answered: threading.Event, asks: bool
    ) -> None:
        while data := source.recv(1 << 16):
            if asks and answered.is_set():
                answered.clear()
                self.round_trips += 1
            elif not asks:
                answered.set()
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def open_once(port: int, dialect: str, relay: Relay | None = None) -> tuple[float, int]:
    """Return the seconds an opening took, and its round trips where it goes through a relay."""
    parameters = SessionParameters(TVQN, tport=relay.port if relay else port, dialect=dialect)
    began = time.perf_counter()
    driver = BlockDriver.open(parameters, 1)
    seconds = time.perf_counter() - began
    round_trips = relay.round_trips if relay else 0
    driver.close()
    return seconds, round_trips


def main() -> None:
    parser = argparse.ArgumentParser(description="measure what dialect= costs an opening")
    parser.add_argument("--count", type=int, default=200, help="openings with each (200)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory(prefix="vof-bench-") as folder:
        image = Path(folder, "disk.img")
        with image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        with target(Path(folder), "opening", devices(image)) as served:
            port = int(served.port)
            times: dict[str, list[float]] = {dialect: [] for dialect in DIALECTS}
            for _round in range(count):
                for dialect in DIALECTS:
                    times[dialect].append(open_once(port, dialect)[0])
            trips = {dialect: open_once(port, dialect, Relay(port))[1] for dialect in DIALECTS}
    base = statistics.median(times["v5"])
    print("| dialect= | round trips | ms | ratio to v5 |\n|---|---:|---:|---:|")
    for dialect, found in times.items():
        median = statistics.median(found)
        print(f"| {dialect} | {trips[dialect]} | {median * 1e3:.2f} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
