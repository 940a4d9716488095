# SPDX-License-Identifier: BSD-3-Clause
"""Direct I/O on a device of the guest, compared with the target's image of it byte by byte.

The image must be as long as the device, all zeroes, and in nobody else's use.
"""

import mmap
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.guest.steps import StepError, expect, run

MIB = 1 << 20
SECTOR = 512


class Model:
    """What the first bytes of a device, and its last ones, must be after everything written."""

    HEAD = 8 * MIB
    TAIL = MIB

    def __init__(self, device: Path, image: Path) -> None:
        self.device = device
        self.image = image
        self.tail = image.stat().st_size - self.TAIL
        self.areas = {0: bytearray(self.HEAD), self.tail: bytearray(self.TAIL)}
        self.random = random.Random(image.name)

    def dd(self, area: int, place: int, size: int, count: int, flags: str = "direct") -> None:
        """Write with dd at a place within an area."""
        data = self.random.randbytes(size * count)
        source = Path("/run", f"{self.device.name}.in")
        source.write_bytes(data)
        to = [f"of={self.device}", f"bs={size}", f"count={count}", f"seek={area + place}"]
        flags = f"oflag={flags},seek_bytes"
        run("dd", f"if={source}", *to, flags, "conv=notrunc", "status=none")
        self.areas[area][place : place + len(data)] = data

    def verify_image(self) -> None:
        with self.image.open("rb") as image:
            for area, wanted in self.areas.items():
                image.seek(area)
                self._same("the target's image", area, wanted, image.read(len(wanted)))

    def verify_reads(self, area: int, place: int, size: int, count: int) -> None:
        """Read with dd."""
        result = Path("/run", f"{self.device.name}.out")
        what = [f"if={self.device}", f"bs={size}", f"count={count}", f"skip={area + place}"]
        run("dd", *what, f"of={result}", "iflag=direct,skip_bytes", "status=none")
        wanted = self.areas[area][place : place + size * count]
        self._same(f"reads of {size} bytes", area + place, wanted, result.read_bytes())

    def _same(self, what: str, start: int, wanted: bytearray, found: bytes) -> None:
        if wanted == found:
            return
        expect(len(wanted) == len(found), f"{what}: {len(found)} bytes, not {len(wanted)}")
        places = [start + n for n in range(len(found)) if wanted[n] != found[n]]
        raise StepError(f"{what}: {len(places)} bytes differ, from {places[0]} to {places[-1]}")


# bytes of a request, how many of them, and the sector at which the first begins
ODD_SIZES = (
    *((512, 1, 1), (512, 7, 9), (1024, 5, 23), (1536, 7, 41), (4096, 3, 67), (4608, 9, 103)),
    *((65024, 3, 211), (65536, 3, 611), (66048, 5, 1007), (MIB - 512, 1, 1801), (MIB + 512, 3, 99)),
)


def odd_sizes(device: Path, image: Path) -> int:
    """Write and read by dd, past all caches of the kernel; how many different sizes that were."""
    model = Model(device, image)
    tail, end = model.tail, model.TAIL
    model.dd(0, 0, MIB, model.HEAD // MIB)
    for size, count, sector in reversed(ODD_SIZES):  # so that the small ones are seen in the end
        model.dd(0, sector * SECTOR, size, count)
    model.dd(tail, end - 4608, 4608, 1)
    model.dd(tail, end - SECTOR, SECTOR, 1)
    model.dd(0, 5 * MIB + 1, 777, 11, "sync")  # not of whole sectors: the page cache reads first
    model.verify_image()
    for size, count, sector in ODD_SIZES:
        model.verify_reads(0, sector * SECTOR, size, count)
    model.verify_reads(tail, end - 1536, 1536, 1)
    model.verify_image()
    return len(ODD_SIZES)


def neighbours(device: Path, image: Path) -> None:
    """Write the sectors of the same blocks from several threads at the same time."""
    threads, sectors = 8, 512
    area = 16 * MIB
    data = random.Random(f"neighbours in {image.name}").randbytes(sectors * SECTOR)

    def write(first: int) -> None:
        fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, SECTOR) as buffer:  # O_DIRECT wants aligned memory
                for place in range(first * SECTOR, len(data), threads * SECTOR):
                    buffer[:] = data[place : place + SECTOR]
                    expect(os.pwrite(fd, buffer, area + place) == SECTOR, "a short write")
        finally:
            os.close(fd)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(threads)))
    with image.open("rb") as file:
        file.seek(area)
        found = file.read(len(data))
    wrong = [
        number
        for number in range(sectors)
        if found[number * SECTOR :][:SECTOR] != data[number * SECTOR :][:SECTOR]
    ]
    expect(not wrong, f"{len(wrong)} of {sectors} sectors were lost: {wrong[:10]}")
