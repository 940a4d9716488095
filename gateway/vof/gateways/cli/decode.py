# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl decode``: prints a capture or a recording of Virtio-over-Fabrics.

Owns the verb's options, the file, and the JSON form. ``vof.decode`` finds the messages,
``vof.decode.text`` shows them to people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from vof.decode.message import Kind, Message, plain
from vof.decode.source import DEFAULT_PORTS, Assumptions, decode
from vof.decode.text import Text, dump
from vof.errors import ConfigError
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_json_line
from vof.initiator.parameters import parse_integer
from vof.wire.constants import DeviceId

STANDARD_INPUT = "-"

DEVICES = {device.name.lower(): int(device) for device in DeviceId}

_DEFAULTS = " and ".join(map(str, sorted(DEFAULT_PORTS)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "file", metavar="FILE", help="pcap, pcapng, or a recording (JSON Lines); - is stdin"
    )
    add_output_option(parser)
    parser.add_argument("--hex", action="store_true", help="print the bytes, too")
    parser.add_argument(
        "--keys", action="store_true", help="print the keys in crypto requests with --hex"
    )
    parser.add_argument(
        "--connection",
        metavar="NUMBER",
        action="append",
        help="only this connection; may be given several times",
    )
    parser.add_argument(
        "--port",
        metavar="PORT",
        action="append",
        help=f"port of a target, beside {_DEFAULTS}; may be given several times",
    )
    parser.add_argument(
        "--device", choices=DEVICES, help="device type where the file does not tell"
    )


def run(given: argparse.Namespace) -> Exit:
    """Print the file. Raises ConfigError where it cannot be used."""
    numbers = {parse_integer("--connection", text, 0, 1 << 31) for text in given.connection or ()}
    ports = {parse_integer("--port", text, 1, 0xFFFF) for text in given.port or ()}
    assumptions = Assumptions(DEFAULT_PORTS | ports, DEVICES.get(given.device))
    stdin = given.file == STANDARD_INPUT
    try:
        if stdin:
            _show(sys.stdin.buffer, given, assumptions, numbers)  # type: ignore[arg-type]
        else:
            with Path(given.file).open("rb") as file:
                _show(file, given, assumptions, numbers)
    except ConfigError as error:
        raise ConfigError(f"{'standard input' if stdin else given.file}: {error}") from None
    return Exit.DONE


def _show(
    file: BufferedReader, given: argparse.Namespace, assumptions: Assumptions, numbers: set[int]
) -> None:
    show = _json(given) if wants_json(given) else _text(given)
    # Somebody may be looking at what is being captured now.
    live = given.file == STANDARD_INPUT or sys.stdout.isatty()
    for message in decode(file, assumptions):
        if not numbers or message.connection in numbers or message.kind is Kind.CAPTURE:
            show(message)
            if live:
                sys.stdout.flush()


def _text(given: argparse.Namespace) -> Callable[[Message], object]:
    text = Text(with_bytes=given.hex, with_keys=given.keys)
    return lambda message: sys.stdout.write(text.show(message))


def _json(given: argparse.Namespace) -> Callable[[Message], object]:
    return lambda message: write_json_line(_object(message, given.hex, given.keys))


def _object(message: Message, with_bytes: bool, with_keys: bool) -> dict[str, object]:
    """Return the JSON form; what is empty is left out."""
    found: dict[str, object] = {"type": message.kind.value}
    if message.where.number:
        found["number"] = message.where.number
    if message.where.time is not None:
        found["time"] = f"{message.where.time // 10**9}.{message.where.time % 10**9:09}"
    if message.connection is not None:
        found["connection"] = message.connection
    if message.queue:
        found["queue"] = int(message.queue) if message.queue.isdecimal() else message.queue
    if message.direction:
        found["direction"] = message.direction.value
    if message.name:
        found["name"] = message.name
    if message.command_id is not None:
        found["command_id"] = message.command_id
    if message.answers:
        found["answers"] = message.answers.number
    for name in ("fields", "descriptors", "decoded", "problems"):
        if content := getattr(message, name):
            found[name] = plain(content)
    if message.payload.data:
        found["payload"] = {"bytes": len(message.payload.data), "missing": message.payload.lost}
    if with_bytes and (message.head or message.payload.data):
        found["hex"] = {
            "head": message.head.hex(),
            "payload": "".join(dump(message.payload, with_keys)),
        }
    return found
