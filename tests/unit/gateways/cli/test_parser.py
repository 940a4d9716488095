# SPDX-License-Identifier: BSD-3-Clause
"""What vofctl says of a command line that it does not understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripted_target import Device
from tests.support.target_fixtures import Serve
from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.exits import Exit


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[device disk0]\ntvqn = a/disk0\n[mount rng]\nmountpoint = /mnt/rng\n"
    (tmp_path / "vof.conf").write_text(text)
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("VOF_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("conect", "x"), "argument VERB: unknown verb 'conect'; did you mean 'connect'?"),
        (("crypto", "encypt"), "argument VERB: unknown verb 'encypt'; did you mean 'encrypt'?"),
        (
            ("zzz",),
            "argument VERB: unknown verb 'zzz'; known are connect, connect-all, disconnect,",
        ),
        (("list", "--outptu=json"), "arguments: --outptu=json; did you mean --output?"),
        (("bench", "x", "--dept", "3"), "arguments: --dept 3; did you mean --depth?"),
        (("list", "-o", "jsn"), "-o/--output: unknown value 'jsn'; did you mean 'json'?"),
        (("list", "-o", "x"), "-o/--output: unknown value 'x'; known are text, json"),
        (("completion", "bsh"), "unknown value 'bsh'; did you mean 'bash'?"),
    ],
)
def test_what_is_not_understood(run: Run, words: tuple[str, ...], told: str) -> None:
    status, output, errors = run(*words)
    assert (status, output) == (Exit.USAGE, b"")
    assert errors.splitlines()[-1].startswith("vofctl")
    assert told in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "rest"), [(("list", "--zzz"), "--zzz"), (("list", "disk0"), "disk0")]
)
def test_what_is_close_to_nothing(run: Run, words: tuple[str, ...], rest: str) -> None:
    status, _output, errors = run(*words)
    assert status == Exit.USAGE
    assert errors.splitlines()[-1] == f"vofctl list: error: unrecognized arguments: {rest}"


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("info", "x", "--transport", "tpc"), "transport=tpc: not known; did you mean tcp?"),
        (("info", "x", "--transport", "ib"), "transport=ib: not known; use tcp or rdma"),
        (("info", "x", "--dialect", "propsal"), "dialect=propsal: not known; did you mean prop"),
        (("connect", "x", "--filter", "atuo"), "filter=atuo: not known; did you mean auto?"),
        (
            ("crypto", "sign", "--tvqn", "x", "--algorithm", "rsa-sha265", "--key-file", "k"),
            "unknown algorithm 'rsa-sha265'; did you mean 'rsa-sha256'?",
        ),
        (("connect", "command=create,tvqn=x,tadr=h"), "unknown key 'tadr'; did you mean 'taddr'?"),
    ],
)
def test_values(run: Run, words: tuple[str, ...], told: str) -> None:
    status, output, errors = run(*words)
    assert (status, output) == (Exit.USAGE, b"")
    assert told in errors
    assert errors.count("\n") == 1


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("words", [("dsk0",), ("--tvqn", "dsk0")])
def test_a_name_with_a_mistake(run: Run, serve: Serve, words: tuple[str, ...]) -> None:
    """It is taken for a tvqn, which the target does not know."""
    target = serve(Device())
    status, output, errors = run("info", *words, "--tport", target.port)
    assert (status, output) == (Exit.UNREACHABLE, b"")
    assert errors.endswith("; did you mean 'disk0', which is in vof.conf?\n")
    assert errors.count("\n") == 1


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("name", ["disk0", "virtio-target/block/other.service"])
def test_what_is_no_mistake(run: Run, serve: Serve, name: str) -> None:
    """A device that is configured and not there, and one that is like no name."""
    target = serve(Device())
    status, _output, errors = run("info", name, "--tport", target.port)
    assert status == Exit.UNREACHABLE
    assert "did you mean" not in errors
