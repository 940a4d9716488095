# SPDX-License-Identifier: BSD-3-Clause
"""All configuration files as one: which win, and what is told of those that are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways.settings.merged import DEFAULTS, load, load_files
from vof.gateways.settings.origin import Source
from vof.gateways.settings.schema import Kind


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files: ``main``, ``name``, and drop-ins called as they are."""
    (folder / "vof.conf.d").mkdir(exist_ok=True)
    for name, content in files.items():
        path = {
            "main": folder / "vof.conf",
            "name": folder / "initiator-name",
        }.get(name, folder / "vof.conf.d" / f"{name}.conf")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def problems(folder: Path) -> list[str]:
    return [problem.text.replace(str(folder), "DIR") for problem in load(folder).problems]


DISK = "[device disk0]\ntvqn = a/disk0\n"


class TestFiles:
    def test_no_configuration_is_an_empty_one(self, tmp_path: Path) -> None:
        settings = load(tmp_path / "none")
        assert (settings.files, settings.problems, settings.devices) == ([], [], [])

    def test_the_folder_is_that_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VOF_CONFIG_DIR", str(write(tmp_path, main=DISK)))
        assert load().devices == ["disk0"]

    def test_a_later_file_wins_key_by_key(self, tmp_path: Path) -> None:
        folder = write(
            tmp_path,
            main=DISK + "taddr = one\ntport = 1\ntimeout = 1\n",
            b="[device disk0]\ntport = 3\n",
            a="[device disk0]\ntimeout = 2\ntport = 2\n[device disk1]\ntvqn = a/disk1\n",
        )
        (folder / "vof.conf.d" / "c.conf~").write_text("nonsense", encoding="utf-8")
        (folder / "vof.conf.d" / ".c.conf").write_text("nonsense", encoding="utf-8")
        settings = load(folder)
        assert settings.problems == []
        assert [path.name for path in settings.files] == ["vof.conf", "a.conf", "b.conf"]
        assert settings.devices == ["disk0", "disk1"]
        values = settings.sections[Kind.DEVICE, "disk0"].values
        assert {key: value.text for key, value in values.items()} == {
            "tvqn": "a/disk0",
            "taddr": "one",
            "tport": "3",
            "timeout": "2",
        }
        assert str(values["tport"].origin) == f"{folder}/vof.conf.d/b.conf:2"

    def test_what_a_section_needs_may_be_in_another_file(self, tmp_path: Path) -> None:
        assert problems(write(tmp_path, main="[device disk0]\ntport=1\n", a=DISK)) == []

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        folder = write(tmp_path, main="", a=b"#" * (1 << 20) + b"\n")
        (folder / "vof.conf").unlink()
        (folder / "vof.conf").symlink_to("nowhere")
        (folder / "vof.conf.d" / "b.conf").mkdir()
        os.mkfifo(folder / "vof.conf.d" / "c.conf")
        assert problems(folder) == [
            "cannot read DIR/vof.conf: No such file or directory",
            "DIR/vof.conf.d/a.conf is longer than 1048576 bytes",
            "cannot read DIR/vof.conf.d/b.conf: not a regular file",
            "cannot read DIR/vof.conf.d/c.conf: not a regular file",
        ]

    def test_a_folder_of_drop_ins_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "vof.conf.d").write_text("", encoding="utf-8")
        assert problems(tmp_path) == ["cannot read DIR/vof.conf.d: Not a directory"]

    def test_a_file_one_may_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write(tmp_path, main=DISK)

        def refuse(path: object, *_flags: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refuse)
        assert problems(folder) == ["cannot read DIR/vof.conf: Permission denied"]


class TestInitiatorName:
    def test_it_is_read(self, tmp_path: Path) -> None:
        settings = load(write(tmp_path, name="\n# this host\n vqn.uuid:1 \n"))
        assert settings.initiator_name is not None
        assert settings.initiator_name.text == "vqn.uuid:1"
        assert settings.initiator_name.origin.source is Source.INITIATOR_NAME
        assert str(settings.initiator_name.origin) == f"{tmp_path}/initiator-name:3"

    def test_it_may_have_a_byte_order_mark(self, tmp_path: Path) -> None:
        text = "[device a]\ntvqn = x\n"
        settings = load(write(tmp_path, main="\ufeff" + text, name="\ufeffvqn.uuid:1"))
        assert not settings.problems
        assert settings.devices == ["a"]
        assert settings.initiator_name is not None
        assert settings.initiator_name.text == "vqn.uuid:1"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", " is empty; write an ivqn into it, or remove it"),
            (b"# nothing\n", " is empty; write an ivqn into it, or remove it"),
            (b"a\nb\n", ":2: a second name; one ivqn is wanted, and nothing else"),
            (b"a\0b", ":1: the ivqn contains a NUL"),
            (b"x" * 256, ":1: the ivqn is 256 bytes long; at most 255 are allowed"),
            (b"a\xff", " is not UTF-8 text (byte 1)"),
        ],
    )
    def test_it_cannot_be_used(self, tmp_path: Path, content: bytes, words: str) -> None:
        folder = write(tmp_path, name=content)
        assert problems(folder) == [f"DIR/initiator-name{words}"]


class TestProblems:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("[devices]", "1: [devices]: unknown section 'devices'; did you mean 'device'?"),
            (
                "[x]",
                "1: [x]: unknown section 'x'; known are defaults, device, mount",
            ),
            ("[]", "1: []: unknown section ''; known are defaults, device, mount"),
            ("[device]", "1: [device]: the name is missing; write [device NAME]"),
            ("[defaults x]", "1: [defaults x]: [defaults] has no name; there is one for all"),
            ("[defaults]\nqueue-size = 8", "2: [defaults] unknown key 'queue-size'; did you mean "
             "'queue_size'?"),
            ("[defaults]\ntport = 0", "2: [defaults] tport=0: not a number from 1 to 65535"),
            ("[defaults]\ntport =", "2: [defaults] tport is empty; leave it out for its default"),
            ("[device d]\ntport = 1", "1: [device d] has no tvqn"),
            (DISK + "device = nbd0", "3: [device disk0] device=nbd0: not an nbd device, such as "
             "/dev/nbd0"),
            (DISK + "filter = yes", "3: [device disk0] filter=yes: not known; use auto or on or "
             "off"),
            (DISK + "auto = boot", "3: [device disk0] auto=boot: neither yes nor no"),
            (DISK + "readonly = 1", "3: [device disk0] readonly=1: neither yes nor no"),
            (DISK + "queues = 129", "3: [device disk0] queues=129: not a number from 1 to 128"),
            (DISK + "connections = 0", "3: [device disk0] connections=0: not a number from 1 to "
             "16"),
            (
                DISK + "device=/dev/nbd1\n[device x]\ntvqn=b\ndevice=/dev/nbd1",
                "6: [device x] device /dev/nbd1 is that of [device disk0] already",
            ),
            ("[mount m]\ntvqns = a", "1: [mount m] has no mountpoint"),
            ("[mount m]\nmountpoint = mnt", "2: [mount m] mountpoint=mnt: not an absolute path"),
            ("[mount m]\nmountpoint = /m\nmode = 8", "3: [mount m] mode=8: not permissions in "
             "octal, such as 640"),
            ("[mount m]\nmountpoint = /m\nallow_other = 1", "3: [mount m] allow_other=1: neither "
             "yes nor no"),
            ("[mount m]\nmountpoint = /m\ntimeout = 0", "3: [mount m] timeout=0: a read that "
             "waits for ever could not be killed"),
            ("[mount m]\nmountpoint=/m\n[mount n]\nmountpoint=/m", "4: [mount n] mountpoint /m is "
             "that of [mount m] already"),
        ],
    )  # fmt: skip
    def test_one_is_told(self, tmp_path: Path, content: str, expected: str) -> None:
        assert problems(write(tmp_path, main=content)) == [f"DIR/vof.conf:{expected}"]

    @pytest.mark.parametrize(
        "name",
        ["a b", "a/b", "-a", ".a", "ü\u202e", "ü" * 33, "x" * 65, "../x", "a\\b", "a,b", "%i"],
    )
    @pytest.mark.parametrize("kind", ["device", "mount"])
    def test_names(self, tmp_path: Path, kind: str, name: str) -> None:
        content = f"[{kind} {name}]\ntvqn = x\n"
        assert problems(write(tmp_path, main=content)) == [
            f"DIR/vof.conf:1: [{kind} {name}]: {name!r} cannot be a name: up to 64 letters, "
            "digits, '.', '_' and '-' are allowed, a letter or digit first; one that is not ASCII "
            "counts as its bytes in UTF-8"
        ]

    @pytest.mark.parametrize("name", ["a", "0", "disk-0.a_B", "x" * 64, "диск", "磁" * 21])
    def test_good_names(self, tmp_path: Path, name: str) -> None:
        settings = load(write(tmp_path, main=f"[device {name}]\ntvqn=x\n"))
        assert (settings.devices, settings.problems) == ([name], [])

    def test_what_is_given_twice(self, tmp_path: Path) -> None:
        assert problems(write(tmp_path, main=DISK + DISK)) == [
            "DIR/vof.conf:3: [device disk0] is here twice; it began in line 1"
        ]

    def test_all_are_told_and_what_is_sound_can_be_used(self, tmp_path: Path) -> None:
        settings = load(
            write(tmp_path, main="[device bad]\ntvqn=x\nport=1\n" + DISK, a="[mount m]")
        )
        assert len(settings.problems) == 2
        settings.require(DEFAULTS, (Kind.DEVICE, "disk0"))
        with pytest.raises(
            ConfigError, match=r"vof.conf:3: \[device bad\] unknown key 'port'; did"
        ):
            settings.require((Kind.DEVICE, "bad"))

    @pytest.mark.parametrize("content", ["x\n", "[devise x]\n", "[defaults]\nx=1\n"])
    def test_what_concerns_everything(self, tmp_path: Path, content: str) -> None:
        settings = load(write(tmp_path, main=DISK, a=content))
        with pytest.raises(ConfigError, match=r"a\.conf:"):
            settings.require(DEFAULTS, (Kind.DEVICE, "disk0"))

    def test_files_named_by_the_user(self, tmp_path: Path) -> None:
        path = tmp_path / "some file"
        path.write_text(DISK + "x", encoding="utf-8")
        settings = load_files([path, tmp_path / "none"])
        assert [problem.text for problem in settings.problems] == [
            f"{path}:3: 'x' is neither [section] nor key = value",
            f"cannot read {tmp_path}/none: No such file or directory",
        ]
