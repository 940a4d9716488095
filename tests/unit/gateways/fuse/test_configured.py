# SPDX-License-Identifier: BSD-3-Clause
"""What the configuration says of a mount, and what the command line makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways.fuse import cli
from vof.gateways.fuse.configured import Configured, by_mountpoint, by_name
from vof.gateways.fuse.options import MountOptions
from vof.gateways.fuse.ownership import Ownership
from vof.gateways.settings.merged import load

TEXT = """\
[defaults]
taddr = storage1
queues = 3
[mount rng]
mountpoint = /mnt/rng
tvqns = a/rng0 a/rng1
tport = 7
mode = 640
allow_other = on
[mount plain]
mountpoint = /mnt/plain/
allow_other = no
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    (tmp_path / "vof.conf").write_text(TEXT, encoding="utf-8")
    (tmp_path / "initiator-name").write_text("vqn:host\n", encoding="utf-8")
    return tmp_path


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> MountOptions:
    """Return what the program would mount."""
    found = []

    def serve(options: MountOptions, *_others: object, background: bool) -> None:
        assert not background
        found.append(options)

    monkeypatch.setattr(cli, "_serve", serve)
    assert cli.main(["-f", *words], "vof-mount") == 0
    return found[0]


OF_RNG = Configured(
    "/mnt/rng",
    ["a/rng0", "a/rng1"],
    {
        "taddr": "storage1",
        "tport": "7",
        "ivqn": "vqn:host",
        "mode": "640",
        "allow_other": "yes",
    },
)


def test_by_its_name() -> None:
    assert by_name(load(), "rng") == OF_RNG


@pytest.mark.parametrize("mountpoint", ["/mnt/rng", "/mnt//rng/", "/mnt/x/../rng"])
def test_by_its_mountpoint(mountpoint: str) -> None:
    assert by_mountpoint(load(), mountpoint) == OF_RNG


def test_by_a_mountpoint_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert by_mountpoint(load(), "mnt/rng") == OF_RNG
    assert by_mountpoint(load(), "/mnt/plain").options["allow_other"] == "no"


def test_one_that_is_not_configured() -> None:
    assert by_mountpoint(load(), "/mnt") == Configured(
        "/mnt", (), {"taddr": "storage1", "ivqn": "vqn:host"}
    )


def test_a_default_that_a_mount_cannot_have(folder: Path) -> None:
    (folder / "vof.conf").write_text("[defaults]\n\ntimeout = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"/vof\.conf:3: timeout=0: a read that waits"):
        by_mountpoint(load(), "/mnt")


class TestProgram:
    @pytest.mark.parametrize(
        "words", [("/mnt/rng",), ("-c", "rng"), ("--config", "rng"), ("none", "/mnt/rng")]
    )
    def test_what_is_configured(
        self, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        found = asked(monkeypatch, *words)
        parameters = found.parameters
        assert (found.mountpoint, found.tvqns) == ("/mnt/rng", ["a/rng0", "a/rng1"])
        assert (parameters.taddr, parameters.tport, parameters.ivqn) == ("storage1", 7, "vqn:host")
        assert (found.ownership.mode, found.fuse, parameters.timeout) == (
            0o640,
            {"allow_other"},
            30,
        )

    def test_the_command_line_is_stronger(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = asked(monkeypatch, "-o", "tport=9,ro,mode=600,ivqn=me", "x/y", "/mnt/rng")
        parameters = found.parameters
        assert (found.tvqns, found.fuse) == (["x/y"], {"allow_other", "ro"})
        assert (parameters.taddr, parameters.tport, parameters.ivqn) == ("storage1", 9, "me")
        assert isinstance(found.ownership, Ownership)
        assert found.ownership.mode == 0o600

    def test_the_command_line_is_stronger_than_a_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = asked(monkeypatch, "-c", "rng", "-o", "mode=600,ro")
        assert (found.mountpoint, found.tvqns) == ("/mnt/rng", ["a/rng0", "a/rng1"])
        assert (found.ownership.mode, found.fuse) == (0o600, {"allow_other", "ro"})

    @pytest.mark.parametrize(
        ("name", "hint"), [("disk", "there are: rng, plain"), ("plian", "did you mean 'plain'?")]
    )
    def test_no_such_mount(self, capsys: pytest.CaptureFixture[str], name: str, hint: str) -> None:
        assert cli.main(["-c", name], "vof-mount") == 1
        assert capsys.readouterr().err == (
            f"vof-mount: there is no [mount {name}] in the configuration; {hint}\n"
        )

    def test_a_mistake_is_told_with_its_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "vof.conf").write_text(f"{TEXT}mod = 600\n", encoding="utf-8")
        assert cli.main(["/mnt/plain"], "vof-mount") == 1
        assert capsys.readouterr().err == (
            f"vof-mount: {folder}/vof.conf:13: [mount plain] unknown key 'mod'; did you mean "
            "'mode'?\n"
        )

    @pytest.mark.parametrize("words", [(), ("-c", "rng", "/mnt/rng")])
    def test_usage(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
        with pytest.raises(SystemExit) as end:
            cli.main(list(words), "vof-mount")
        assert end.value.code == 2
        assert "either MOUNTPOINT or -c NAME is needed" in capsys.readouterr().err
