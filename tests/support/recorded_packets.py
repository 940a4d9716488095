# SPDX-License-Identifier: BSD-3-Clause
"""The packets of a recording, as if it had been captured."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.capture_files import I2T, T2I, Talk
from tests.support.roce_packets import Talk as RdmaTalk
from tests.vectors import recordings


def packets(name: str, talk: dict[str, object] | None = None) -> list[bytes]:
    """Return the packets of the recording called ``name``; ``talk`` is how its TCP connections
    differ from those of ``Talk``."""
    found = recordings.load(name)
    if found.transport == "rdma":
        return list(_rdma_packets(found))
    talks: dict[int, Talk] = {}
    made: list[bytes] = []
    for message in found.messages:
        if message.conn not in talks:
            talks[message.conn] = Talk(from_port=40000 + message.conn, **(talk or {}))  # type: ignore[arg-type]
            made += talks[message.conn].opened()
        if message.data:
            made += talks[message.conn].says(message.direction, message.data)
        elif message.event == "fin":
            made.append(talks[message.conn].closes(message.direction))
    return made


def _rdma_packets(found: recordings.Recording) -> Iterator[bytes]:
    talks: dict[int, RdmaTalk] = {}
    asked: dict[int, list[recordings.Message]] = {}
    for message in found.messages:
        number, data = message.conn, message.data
        talk = talks.get(number)
        if talk is None:
            pairs = {I2T: 0x100 + number, T2I: 0x200 + number}
            talk = talks[number] = RdmaTalk(queue_pairs=pairs, comm_ids=dict(pairs))
        match message.op:
            case "CM_REQ":
                yield from talk.opened()
            case "SEND":
                yield from talk.sends(message.direction, data)
            case "WRITE":
                yield from talk.writes(message.direction, message.remote_addr, message.rkey, data)
            case "READ_REQ":
                asked.setdefault(number, []).append(message)
            case "READ_RESP":
                request = asked[number].pop(0)
                yield from talk.reads(request.direction, request.remote_addr, request.rkey, data)
            case "CM_DREQ":
                yield talk.closes(message.direction)
