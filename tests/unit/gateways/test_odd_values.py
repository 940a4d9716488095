# SPDX-License-Identifier: BSD-3-Clause
"""Every parameter there is, with values that nobody means: taken, or refused by name in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from vof.errors import ConfigError
from vof.gateways.settings.schema import KEYS, Kind
from vof.logline import printable
from vof.target import config

ODD = (
    *(
        "",
        " ",
        "\t",
        " 5 ",
        "\0",
        "a\nb",
        "a b",
        "-1",
        "0",
        "+5",
        "65536",
        "0x10",
        "1_0",
        "1e3",
        "1.",
    ),
    *("inf", "nan", "9" * 5000, "\u0661\u0662", "\u2075", "99999999T", "1KK", "K", "%", "..", "/"),
    *("[::1", "::1]", "[::1]:1", "fe80::1", "fe80::1%none", "tcp://x", "unix:", "x" * 300, "a,b"),
)

TARGET_KEYS = (
    *("transport", "address", "port", "threads", "targets", "connections", "handshake_timeout"),
    *("send_timeout", "eager", "metrics"),
)


def refusals(check: Callable[[str], object]) -> Iterator[str]:
    """Yield what is told of each odd value that is not taken."""
    for value in ODD:
        try:
            check(value)
        except ConfigError as error:
            yield printable(str(error))


def is_plain(line: str) -> bool:
    return "\n" not in line and "Errno" not in line


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, keys in KEYS.items() for key in keys]
)
def test_of_vof_conf(kind: Kind, key: str) -> None:
    """Those of the plugin, of vofctl and of vof-mount are among them."""
    for line in refusals(lambda value: KEYS[kind][key].check(key, value)):
        assert is_plain(line)
        assert key in line


@pytest.mark.parametrize("key", TARGET_KEYS)
def test_of_a_target(key: str) -> None:
    for line in refusals(lambda value: config.parse(f"[target]\n{key} = {value}\n", "t.conf")):
        assert is_plain(line)
        assert f"t.conf:2: [target] {key}: " in line or line.startswith("t.conf: line 3 ")
