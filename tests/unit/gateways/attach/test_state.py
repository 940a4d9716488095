# SPDX-License-Identifier: BSD-3-Clause
"""The state folder: who owns an entry, what is stale, and other versions."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways.attach.state import Record, StateFolder

TVQN = "virtio-target/block/disk0.service"


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "vof")


def claim_as(folder: StateFolder, name: str | None = None, tvqn: str = TVQN, at: str = "h:1"):  # type: ignore[no-untyped-def]
    return folder.claim(name, "disk0", tvqn, at)


def test_nothing_is_there_before_the_first(folder: StateFolder) -> None:
    assert folder.entries() == []
    assert folder.entry("disk0") is None
    assert folder.adopt("disk0") is None
    assert not folder.path.exists()


def test_an_entry_belongs_to_its_process(folder: StateFolder) -> None:
    claim = claim_as(folder)
    [entry] = folder.entries()
    assert (entry.name, entry.owner) == ("disk0", os.getpid())
    assert entry.record
    assert (entry.record.tvqn, entry.record.state) == (TVQN, "connecting")
    claim.write(Record("disk0", TVQN, "h:1", "connected", device="/dev/nbd0", size=512))
    [entry] = folder.entries()
    assert entry.record
    assert entry.record.device == "/dev/nbd0"
    claim.release()
    assert folder.entries() == []


def test_the_same_disk_twice(folder: StateFolder) -> None:
    first = claim_as(folder)
    with pytest.raises(ConfigError, match="connected already, as disk0") as raised:
        claim_as(folder, "other")
    assert raised.value.errno == errno.EBUSY
    other_target = claim_as(folder, "other", at="h:2")
    first.release()
    other_target.release()


def test_a_name_twice(folder: StateFolder) -> None:
    first = claim_as(folder)
    with pytest.raises(ConfigError, match="name disk0 is taken"):
        claim_as(folder, "disk0", "another/disk0.service")
    second = claim_as(folder, None, "another/disk0.service")
    assert second.folder.name == "disk0-2"
    first.release()
    second.release()


@pytest.mark.parametrize("name", ["a b", "../x", "a/b"])
def test_a_name_that_cannot_be_used(folder: StateFolder, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a name"):
        claim_as(folder, name)


def killed_with(folder: StateFolder, tvqn: str = TVQN) -> None:
    """Have a process claim an entry, and die."""
    pid = os.fork()
    if pid == 0:
        claim = claim_as(folder, tvqn=tvqn)
        claim.write(Record("disk0", tvqn, "h:1", "connected", identifier="vof:disk0:s"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_killed_supervisor_leaves_a_stale_entry(folder: StateFolder) -> None:
    killed_with(folder)
    [entry] = folder.entries()
    assert entry.owner is None
    claim = claim_as(folder)
    assert claim.folder.name == "disk0"
    assert claim.previous
    assert claim.previous.identifier == "vof:disk0:s"
    assert folder.adopt("disk0") is None
    claim.release()


def test_a_stale_entry_of_another_disk_keeps_its_name(folder: StateFolder) -> None:
    killed_with(folder, "another/disk0.service")
    claim = claim_as(folder)
    assert claim.folder.name == "disk0-2"
    claim.release()


def test_a_stale_entry_is_adopted_and_removed(folder: StateFolder) -> None:
    killed_with(folder)
    claim = folder.adopt("disk0")
    assert claim
    claim.release()
    assert folder.entries() == []


def test_another_version_is_refused(folder: StateFolder) -> None:
    claim_as(folder).release()
    (folder.path / "schema").write_text("2\n")
    for act in (folder.entries, lambda: claim_as(folder), lambda: folder.adopt("disk0")):
        with pytest.raises(ConfigError, match=r"another version of vof .schema 2, this one has 1"):
            act()


def test_entries_without_a_version_are_refused(folder: StateFolder) -> None:
    (folder.path / "devices/disk0").mkdir(parents=True)
    with pytest.raises(ConfigError, match="schema none"):
        folder.entries()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', '{"schema": 9}'])
def test_a_record_that_cannot_be_read(folder: StateFolder, text: str) -> None:
    claim = claim_as(folder)
    (claim.folder / "state.json").write_text(text)
    with pytest.raises(ConfigError, match=r"state\.json"):
        folder.entries()
    claim.release()


def test_a_record_of_a_later_vof_may_have_more(folder: StateFolder) -> None:
    claim = claim_as(folder)
    path = claim.folder / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "fair"}))
    [entry] = folder.entries()
    assert entry.record
    assert entry.record.tvqn == TVQN
    claim.release()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*/file/vof"):
        claim_as(StateFolder(tmp_path / "file" / "vof"))


def test_the_environment_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOF_STATE_DIR", str(tmp_path / "x"))
    assert StateFolder().path == tmp_path / "x"
    assert StateFolder(tmp_path / "y").path == tmp_path / "y"
