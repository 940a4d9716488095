# SPDX-License-Identifier: BSD-3-Clause
"""Reads the recordings of this folder; README.md says what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vof.errors import RemoteProtocolError
from vof.wire.stream import CommandParser
from vof.wire.structs import CONNECT_BODY_SIZE, HEAD, Buffer, ConnectCommand, unpack

FOLDER = Path(__file__).parent

I2T = "i2t"
T2I = "t2i"


@dataclass(frozen=True)
class Message:
    """One line of a recording after the first, except those that only start a probe."""

    conn: int
    direction: str
    """``I2T``, ``T2I``, or empty for what concerns both."""
    data: bytes
    """Bytes of a TCP stream, or one RDMA message."""
    op: str
    """The RDMA operation; empty over TCP."""
    event: str
    """What happened instead of data; empty where there is data."""
    note: str
    """What the latest note on this connection says; probes only."""
    remote_addr: int
    rkey: int
    length: int
    """Of an RDMA read request or write."""


@dataclass(frozen=True)
class Recording:
    """A recording in the order it was made."""

    name: str
    what: str
    transport: str
    size: int | None
    """Sum of the data bytes as the recorder counted them; None for probes."""
    truncated: bool
    messages: tuple[Message, ...]

    def stream(self, conn: int, direction: str) -> bytes:
        """Return the bytes that went in one direction over one connection."""
        return b"".join(
            message.data
            for message in self.messages
            if (message.conn, message.direction) == (conn, direction)
        )

    @property
    def conns(self) -> tuple[int, ...]:
        """The numbers of the connections, in the order they were opened."""
        return tuple(dict.fromkeys(message.conn for message in self.messages))


def load(name: str) -> Recording:
    """Return the recording called ``name``: its file name without the ending."""
    with (FOLDER / f"{name}.jsonl").open(encoding="ascii") as file:
        about = json.loads(next(file))
        messages = []
        notes: dict[int, str] = {}
        for line in map(json.loads, file):
            if "note" in line:
                notes[line["conn"]] = line["note"]
            elif "conn" in line:
                messages.append(
                    Message(
                        conn=line["conn"],
                        direction=line.get("dir", ""),
                        data=bytes.fromhex(line.get("hex", "")),
                        op=line.get("op", ""),
                        event=line.get("event", ""),
                        note=notes.get(line["conn"], ""),
                        remote_addr=line.get("remote_addr", 0),
                        rkey=line.get("rkey", 0),
                        length=line.get("len", 0),
                    )
                )
    return Recording(
        name=name,
        what=about["what"],
        transport=about["transport"],
        size=about.get("bytes"),
        truncated=about.get("truncated", False),
        messages=tuple(messages),
    )


def names(prefix: str = "") -> list[str]:
    """Return the names of the recordings that begin with ``prefix``, sorted."""
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.jsonl"))


class CommandStream(CommandParser):
    """The commands of a whole recorded connection, its Connect among them."""

    def _head(self, part: Buffer) -> int:
        opcode, command_id = HEAD.unpack_from(part)
        if opcode:
            return super()._head(part)
        self._opcode, self._command_id, self._head_bytes = opcode, command_id, bytes(part)
        ndesc = unpack(ConnectCommand, part).ndesc
        if ndesc != 1:
            raise RemoteProtocolError(f"a Connect has {ndesc} descriptors")
        return 1

    def _descriptors(self, part: Buffer) -> list[memoryview]:
        fill = super()._descriptors(part)
        if not self._opcode and list(map(len, fill)) != [CONNECT_BODY_SIZE]:
            raise RemoteProtocolError("a Connect's descriptor is not 1024 device-readable bytes")
        return fill
