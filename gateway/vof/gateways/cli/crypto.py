# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl crypto``: does one operation on standard input, over a session of its own.

Owns the verbs' options. Reads no more input than the device takes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vof.drivers.crypto import CryptoDriver
from vof.errors import ConfigError, DeviceError, VofError
from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, wants_json, write_json
from vof.gateways.cli.target_options import add_target_options, target_parameters
from vof.gateways.crypto.algorithms import ALGORITHMS, Algorithm, Operation, offered
from vof.gateways.crypto.jobs import (
    Job,
    Setup,
    check_aad,
    check_iv,
    check_tag_length,
    make_job,
    max_input,
)
from vof.gateways.crypto.keys import MAX_KEY_FILE, read_key
from vof.gateways.crypto.listing import facts, listing
from vof.gateways.suggestion import unknown
from vof.initiator.parameters import parse_integer
from vof.wire.crypto import Service

_VERBS = {
    Operation.ENCRYPT: "encrypt standard input",
    Operation.DECRYPT: "decrypt standard input",
    Operation.SIGN: "write the signature of standard input",
    Operation.VERIFY: "check the signature of standard input",
    Operation.DIGEST: "write the digest or authentication code of standard input",
}

SESSION_MODES = ("auto", "session", "stateless")


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Give the group its verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for operation, text in _VERBS.items():
        verb = verbs.add_parser(operation, help=text, description=text, epilog=parser.epilog)
        verb.set_defaults(run=run_operation, operation=operation)
        _add_operation_options(verb, operation)
        add_target_options(verb)
    text = "list what the device offers"
    verb = verbs.add_parser("algorithms", help=text, description=text, epilog=parser.epilog)
    verb.set_defaults(run=run_algorithms)
    add_output_option(verb)
    add_target_options(verb)


def _add_operation_options(verb: argparse.ArgumentParser, operation: Operation) -> None:
    verb.add_argument("--algorithm", required=True, metavar="NAME", help="see `algorithms`")
    verb.add_argument("--key-file", metavar="FILE", help="raw bytes; PEM or DER for RSA and ECDSA")
    if operation in {Operation.ENCRYPT, Operation.DECRYPT}:
        verb.add_argument("--iv", metavar="HEX", help="initialisation vector or nonce")
        verb.add_argument("--aad", metavar="HEX", help="additional data that is authenticated")
    if operation not in {Operation.SIGN, Operation.VERIFY}:
        verb.add_argument("--tag-length", metavar="BYTES", help="of the tag, code or SHAKE digest")
    if operation is Operation.VERIFY:
        verb.add_argument(
            "--signature-file", metavar="FILE", help="without it, the signature comes first"
        )
    if operation is Operation.DIGEST:
        verb.add_argument("--hex", action="store_true", help="write it in hexadecimal")
    verb.add_argument(
        "--mode",
        choices=SESSION_MODES,
        default="auto",
        help="make a session for it, or do without (default: as the device offers)",
    )


def run_algorithms(given: argparse.Namespace) -> int:
    """List what the device offers."""
    with _opened(given) as driver:
        known = offered(driver).values()
        if wants_json(given):
            write_json(
                {"algorithms": [{"name": each.name} | dict(facts(driver, each)) for each in known]}
            )
        else:
            sys.stdout.write(listing(driver, known))
    return Exit.DONE


def run_operation(given: argparse.Namespace) -> int:
    """Do one operation."""
    operation: Operation = given.operation
    setup = _setup(given)
    try:
        with _opened(given) as driver:
            if setup.algorithm.name not in offered(driver):
                raise VofError(f"the device does not offer {setup.algorithm.name}")
            output = _perform(given, driver, setup, operation)
    finally:
        if setup.key is not None:
            setup.key.wipe()
    if getattr(given, "hex", False):
        output = f"{output.hex()}\n".encode()
    sys.stdout.buffer.write(output)
    return Exit.DONE


def _setup(given: argparse.Namespace) -> Setup:
    """Return what the options say. Raises ConfigError."""
    name = given.algorithm.lower()
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        lists = "`vofctl crypto algorithms` lists them"
        raise ConfigError(unknown("algorithm", name, ALGORITHMS, lists))
    iv, aad = (_hex(given, name) for name in ("iv", "aad"))
    tag_length = getattr(given, "tag_length", None)
    setup = Setup(
        algorithm,
        iv=check_iv(algorithm, iv) if iv is not None else None,
        aad=check_aad(algorithm, aad) if aad is not None else b"",
        tag_length=None
        if tag_length is None
        else check_tag_length(algorithm, parse_integer("--tag-length", tag_length, 0, 1 << 16)),
    )
    if given.key_file is not None:
        setup = _with_key(setup, algorithm, given.key_file)
    setup.check(given.operation)
    return setup


def _with_key(setup: Setup, algorithm: Algorithm, path: str) -> Setup:
    content = bytearray(MAX_KEY_FILE + 1)
    try:
        # Unbuffered, or a copy of the key would stay behind.
        with Path(path).open("rb", buffering=0) as file:
            length = _fill(file, memoryview(content))
        if length > MAX_KEY_FILE:
            raise ConfigError(f"--key-file {path}: more than {MAX_KEY_FILE} bytes")
        key = read_key(algorithm, content[:length])
    finally:
        content[:] = bytes(len(content))
    return Setup(setup.algorithm, key, setup.iv, setup.aad, setup.tag_length)


def _fill(file: IO[bytes], room: memoryview) -> int:
    """Read until the end of the file or of the room; return how much there was."""
    length = 0
    while length < len(room) and (count := file.readinto(room[length:])):  # type: ignore[attr-defined]
        length += count
    return length


def _hex(given: argparse.Namespace, name: str) -> bytes | None:
    text = getattr(given, name, None)
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigError(f"--{name}: not an even number of hexadecimal digits") from None


@contextlib.contextmanager
def _opened(given: argparse.Namespace) -> Iterator[CryptoDriver]:
    driver = CryptoDriver.open(target_parameters(given), 1)
    try:
        yield driver
    finally:
        driver.close()


def _perform(
    given: argparse.Namespace, driver: CryptoDriver, setup: Setup, operation: Operation
) -> bytes:
    limit = max_input(driver, setup, operation)
    data = b""
    if getattr(given, "signature_file", None) is not None:
        data = Path(given.signature_file).read_bytes()
        size = setup.key.signature_size if setup.key else 0
        if not data or len(data) > size:
            raise ConfigError(f"--signature-file {given.signature_file}: no signature of this key")
    data += sys.stdin.buffer.read(limit + 1 - len(data))
    if len(data) > limit:
        raise ConfigError(f"too much input: the device takes {limit} bytes to {operation}")
    job = make_job(setup, operation, data)
    return job.output(_run(driver, job, given.mode))


def _run(driver: CryptoDriver, job: Job, mode: str) -> memoryview:
    service: Service = job.setup.algorithm.service
    stateless = driver.stateless(service)
    if mode == "stateless" and not stateless:
        raise VofError(f"the device takes {service.name} operations in a session only")
    # One operation alone is one request without a session, and three with it.
    # The key then counts as a part of it.
    alone = job.without_session()
    if mode == "stateless" or (
        mode == "auto" and stateless and alone.variable_size <= driver.max_size
    ):
        return driver.execute(alone)
    session_id = driver.create_session(job.parameters)
    try:
        return driver.execute(job.in_session(session_id))
    finally:
        # Should the device have failed that too, the end of the association ends it.
        with contextlib.suppress(DeviceError):
            driver.destroy_session(service, session_id)
