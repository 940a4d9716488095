# SPDX-License-Identifier: BSD-3-Clause
"""The configuration file. Mistakes are tested where a user meets them, in
tests/target/test_process.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.target.backends.crypto_openssl import OpensslOptions
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.backends.rng_file import FileOptions
from vof.target.backends.rng_random import RandomOptions
from vof.target.backends.rng_simulator import SimulatorOptions
from vof.target.clock import Clock
from vof.target.config import Config, Settings, load, parse
from vof.target.devices.block import BlockOptions
from vof.target.devices.crypto import CryptoDeviceOptions
from vof.target.devices.rng import RngDeviceOptions

REFERENCE = """
# as the reference target's sample has it
[target]
transport = tcp
;transport = rdma
address = 0.0.0.0
port = 15771
threads = 4
targets = 128

[block0]
tvqn = virtio-target/block/block0.service
model = block
features = 0
backend = driver=block-posix,path=/tmp/block0.img,queues=4,serial=vtgt-000001
"""


def test_the_reference_targets_file() -> None:
    config = parse(REFERENCE, "vtgt.conf")
    assert config.settings == Settings(address="0.0.0.0", ports=(15771,), threads=4)
    (device,) = config.devices
    assert device.tvqn == "virtio-target/block/block0.service"
    assert device.features == 0
    assert device.options == BlockOptions(queues=4, serial="vtgt-000001")
    assert device.backend == PosixOptions(path="/tmp/block0.img")
    assert device.where == "vtgt.conf:15: [block0] backend"


def test_nothing_is_a_configuration() -> None:
    assert parse("", "x") == Config()
    assert parse("[target]\n", "x") == Config()
    assert Config().settings.port == "15771, 8549"


def test_every_key() -> None:
    config = parse(
        """
        [target]
        transport=tcp
        address = ::1
        port=8549, 0
        threads = 0x10
        targets=65535
        connections = 5
        handshake_timeout = 0.5
        send_timeout = 3
        [a b]
        tvqn = ä
        model = block
        features = 0x100000046
        backend = driver=block-posix , path=/a=b%(c)s#d;e,,f\udcff, queues=64, serial=, \
readonly=yes, block_size=4K, cache=directsync
        [m]
        tvqn = m
        model = block
        backend = size=1G,driver=block-memory
        """.replace("\n        ", "\n"),
        "x",
    )
    assert config.settings == Settings("tcp", "::1", (8549, 0), 16, 65535, 5, 0.5, 3)
    one, two = config.devices
    assert (one.tvqn, one.features) == ("ä", 0x100000046)
    assert one.options == BlockOptions(queues=64, serial="", readonly=True, block_size=4096)
    assert one.backend == PosixOptions("/a=b%(c)s#d;e,f\udcff", readonly=True, cache="directsync")
    assert (two.backend, two.options) == (MemoryOptions(1 << 30), BlockOptions())


@pytest.mark.clause("v2:73-74", "target")
def test_there_are_fewer_associations_than_target_ids() -> None:
    """Target ids are the lowest that are free: 0xffff is never one of them."""
    assert parse("[target]\ntargets=65535\n", "x").settings.targets == 0xFFFF
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        parse("[target]\ntargets=65536\n", "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp", ("tcp",)),
        ("rdma", ("rdma",)),
        ("tcp,rdma", ("tcp", "rdma")),
        ("rdma , tcp", ("tcp", "rdma")),
    ],
)
def test_transports(text: str, expected: tuple[str, ...]) -> None:
    settings = parse(f"[target]\ntransport = {text}\n", "x").settings
    assert tuple(item.value for item in settings.transports) == expected
    assert settings == Settings(transport=",".join(expected))


@pytest.mark.parametrize("text", ["udp", "tcp,", "", "tcp rdma", "rdma,rdma", "TCP"])
def test_transports_that_there_are_not(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[target\] transport: .*use tcp or rdma, or tcp,rdma"):
        parse(f"[target]\ntransport = {text}\n", "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("off", 0), ("0", 0), ("4K", 4096), ("1M", 1 << 20), ("5000", 5000), ("64M", 64 << 20)],
)
def test_eager(text: str, expected: int) -> None:
    assert parse(f"[target]\neager = {text}\n", "x").settings.eager == expected


@pytest.mark.parametrize("text", ["4095", "65M", "-1", "on", "1X", ""])
def test_eager_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[target\] eager: "):
        parse(f"[target]\neager = {text}\n", "x")


def test_rng_and_crypto() -> None:
    config = parse(
        """
        [a]
        tvqn = a
        model = rng
        backend = driver=rng-random
        [b]
        tvqn = b
        model = rng
        backend = bytes=2K,period=500,driver=rng-file,path=/dev/hwrng
        [c]
        tvqn = c
        model = rng
        backend = driver=rng-simulator,bytes=0
        [d]
        tvqn = d
        model = crypto
        backend = driver=crypto-openssl
        [e]
        tvqn = e
        model = crypto
        backend = driver=crypto-openssl,queues=64,sessions=65536,max_size=16M
        """.replace("\n        ", "\n"),
        "x",
    )
    assert [(item.options, item.backend) for item in config.devices] == [
        (RngDeviceOptions(), RandomOptions()),
        (RngDeviceOptions(2048, 500), FileOptions("/dev/hwrng")),
        (RngDeviceOptions(), SimulatorOptions()),
        (CryptoDeviceOptions(), OpensslOptions()),
        (CryptoDeviceOptions(64, 65536, 16 << 20), OpensslOptions()),
    ]
    for item in config.devices:
        if item.tvqn != "b":  # not every machine has one
            device = item.open(Clock())
            assert device.tvqn == item.tvqn
            device.claim()
            device.flush()
            device.close()


def test_devices_are_equal_wherever_they_stand() -> None:
    """A reload leaves alone what only moved or was renamed in the file."""
    one = parse(REFERENCE, "a").devices
    two = parse("\n\n" + REFERENCE.replace("[block0]", "[other]"), "b").devices
    assert one == two
    assert one != parse(REFERENCE.replace("queues=4", "queues=5"), "a").devices


MISTAKES = {
    "before a section": ("port = 1\n", "x: line 1 stands before the first"),
    "no key": ("[target]\nport\n", "line 2 is neither"),
    "key twice": ("[target]\nport=1\nport=2\n", r"line 3: \[target\] has port twice"),
    "section twice": ("[target]\n[target]\n", r"line 2: the section \[target\] is there twice"),
    "case matters": ("[target]\nPort=1\n", r"x:2: \[target\] Port: unknown key"),
    "DEFAULT is a device": ("[DEFAULT]\nport=1\n", r"x:1: \[DEFAULT\] tvqn: is missing"),
    "model missing": ("[a]\ntvqn=a\n", r"x:1: \[a\] model: is missing"),
    "backend missing": ("[a]\ntvqn=a\nmodel=block\n", "backend: is missing"),
    "driver missing": (
        "[a]\ntvqn=a\nmodel=block\nbackend=size=1\n",
        r"x:4: \[a\] backend: driver: is missing",
    ),
    "not a pair": (
        "[a]\ntvqn=a\nmodel=block\nbackend=driver=block-posix,path=/a,b\n",
        "'b' where key=value is expected",
    ),
    "pair twice": (
        "[a]\ntvqn=a\nmodel=block\nbackend=size=1,size=1\n",
        "has size= twice",
    ),
    "path empty": (
        "[a]\ntvqn=a\nmodel=block\nbackend=driver=block-posix,path=\n",
        "path: '' is empty",
    ),
    "other backend's key": (
        "[a]\ntvqn=a\nmodel=block\nbackend=driver=block-memory,size=1,path=/a\n",
        "path: unknown key; allowed here: driver, queues, serial, readonly, block_size, size",
    ),
    "no such model": ("[a]\ntvqn=a\nmodel=net\n", "use block or rng or crypto or console"),
    "another model's backend": (
        "[a]\ntvqn=a\nmodel=rng\nbackend=driver=block-memory\n",
        "use rng-random or rng-file or rng-simulator",
    ),
    "another model's key": (
        "[a]\ntvqn=a\nmodel=rng\nbackend=driver=rng-random,queues=2\n",
        "queues: unknown key; allowed here: driver, bytes, period",
    ),
    "no path": ("[a]\ntvqn=a\nmodel=rng\nbackend=driver=rng-file\n", "path: is missing"),
    "a period of 0": (
        "[a]\ntvqn=a\nmodel=rng\nbackend=driver=rng-random,bytes=1,period=0\n",
        "period: '0' is not a whole number from 1 to 3600000",
    ),
    "a crypto key that is none": (
        "[a]\ntvqn=a\nmodel=crypto\nbackend=driver=crypto-openssl,key=x\n",
        "key: unknown key; allowed here: driver, queues, sessions, max_size",
    ),
    "no sessions": (
        "[a]\ntvqn=a\nmodel=crypto\nbackend=driver=crypto-openssl,sessions=0\n",
        "sessions: '0' is not a whole number from 1 to 65536",
    ),
    "too little": (
        "[a]\ntvqn=a\nmodel=crypto\nbackend=driver=crypto-openssl,max_size=4095\n",
        "max_size: '4095' is not a size from 4096 to 16777216",
    ),
    "tvqn empty": ("[a]\ntvqn=\n", "is empty"),
    "features": ("[a]\ntvqn=a\nmodel=block\nfeatures=0x10000000000000000\n", "features: '0x1"),
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse(text, "x")
    assert "\n" not in str(caught.value)


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "vtgt.conf"
    path.write_text(REFERENCE, encoding="utf-8")
    assert load(path) == parse(REFERENCE, str(path))
    path.write_text(REFERENCE, encoding="utf-8-sig")  # with a byte order mark
    assert load(path) == parse(REFERENCE, str(path))
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


def test_opening_names_the_place(tmp_path: Path) -> None:
    text = REFERENCE.replace("/tmp/block0.img", f"{tmp_path}/gone.img")
    (device,) = parse(text, "vtgt.conf").devices
    with pytest.raises(ConfigError, match=r"vtgt\.conf:15: \[block0\] backend: cannot open .*gone"):
        device.open(Clock())
    (tmp_path / "gone.img").write_bytes(b"x" * 511)
    with pytest.raises(ConfigError, match="511 bytes are less than one block of 512 bytes"):
        device.open(Clock())
