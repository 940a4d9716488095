# SPDX-License-Identifier: BSD-3-Clause
"""nbdkit's vof filter: that it carries, when it steps aside, and what it refuses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.nbd.conftest import DISK, Served
from tests.nbd.nbdkit_process import PLUGIN, WAYS, Nbdkit, run_nbdkit
from vof.gateways.attach.nbd.filter_build import FILE_NAME, InstalledNbdkit, filter_path
from vof.gateways.cli.main import main

pytestmark = pytest.mark.parametrize("way", ["fast"], indirect=True, scope="package")

SIZE = 'nbdinfo --size "$uri"'


def compiled(folder: Path, *options: str) -> Path:
    """Return the filter as it is compiled with ``options``."""
    root = PLUGIN.parents[1]
    path = folder / FILE_NAME
    source = PLUGIN.with_name("nbdkit-vof-filter.c")
    include = f"-I{root}/gateway/native/initiator"
    command = ["cc", "-std=c11", "-shared", "-fPIC", include, *options, str(source)]
    subprocess.run([*command, "-o", str(path)], check=True)
    return path


def refusal(filter_file: Path | str, *more: str) -> str:
    """Return the one line with which nbdkit does not start."""
    done = subprocess.run(
        ["nbdkit", "-U", "-", f"--filter={filter_file}", *more, "--run", "true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    return line


def test_it_is_the_engine_that_carries(served: Served) -> None:
    with (
        served.nbdkit(DISK, options=["-v"]) as nbdkit,
        nbdkit.client() as client,
    ):
        client.pwrite(b"x" * 4096, 0)
        assert client.pread(4096, 0) == b"x" * 4096
        log = nbdkit.log
    assert "vof filter: requests go straight to the engine" in log
    assert not re.findall(r"python\[\d+\]: debug: python: p(read|write)", log)


def test_without_native_fabric_requests_go_the_plugins_way(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nbdkit, "way", WAYS["fast"]._replace(environment={"VOF_FABRIC": "python"}))
    with served.nbdkit(DISK, options=["-v"]) as nbdkit, nbdkit.client() as client:
        client.pwrite(b"y" * 4096, 4096)
        assert client.pread(4096, 4096) == b"y" * 4096
        client.cache(4096, 0)
        assert "the plugin lends no engine" in nbdkit.log


def test_before_another_plugin_it_changes_nothing() -> None:
    done = subprocess.run(
        ["nbdkit", "-U", "-", f"--filter={filter_path()}", "memory", "1M", "--run", SIZE],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout.strip() == "1048576"


@pytest.mark.parametrize("option", ["--filter=cow", "--filter cow", "--filt=cow"])
def test_a_filter_between_it_and_the_plugin(option: str) -> None:
    line = refusal(filter_path(), *option.split(), "memory", "1M")
    assert "the vof filter must be the last --filter" in line


def test_a_filter_before_it_is_none_of_its_business(served: Served) -> None:
    options = ["--filter=cow"]
    with served.nbdkit(DISK, options=options) as nbdkit, nbdkit.client() as client:
        before = client.pread(512, 0)
        client.pwrite(b"\x77" * 512, 0)
        assert client.pread(512, 0) == b"\x77" * 512
    with served.nbdkit(DISK) as nbdkit, nbdkit.client() as client:
        assert client.pread(512, 0) == before


def test_another_nbdkit_refuses_it(tmp_path: Path) -> None:
    """nbdkit itself compares versions, and says so in a line."""
    header = tmp_path / "nbdkit-version.h"
    text = Path("/usr/include/nbdkit-version.h").read_text(encoding="utf-8")
    header.write_text(re.sub(r'(VERSION_STRING\s+)"[^"]+"', r'\1"1.0.0"', text))
    (tmp_path / "nbdkit-filter.h").write_text(
        Path("/usr/include/nbdkit-filter.h").read_text(encoding="utf-8")
    )
    built = compiled(tmp_path, f"-I{tmp_path}")
    line = refusal(built, "memory", "1M")
    assert "1.0.0" in line
    assert InstalledNbdkit.find().version in line


def test_one_of_another_vof_is_refused_when_a_client_comes(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "abi"
    folder.mkdir()
    built = compiled(folder, "-include", str(_other_abi(folder)))
    done = subprocess.run(
        [
            *("nbdkit", "-U", "-", f"--filter={built}", "python", str(PLUGIN)),
            *(f"tvqn={DISK}", f"tport={served.port}", "--run", SIZE),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert "was built for another version of vof" in done.stderr
    assert "Traceback" not in done.stderr


def _other_abi(folder: Path) -> Path:
    """Return a header that is included first and gives the ABI another number."""
    header = folder / "other.h"
    header.write_text('#define _GNU_SOURCE\n#include "fast_path.h"\n#undef VOF_FAST_PATH_ABI\n')
    with header.open("a") as file:
        file.write("#define VOF_FAST_PATH_ABI 999\n")
    return header


class TestVofctl:
    def test_path_is_the_same_until_something_changes(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["filter", "path"]) == 0
        first = capsys.readouterr().out
        assert main(["filter", "path"]) == 0
        assert capsys.readouterr().out == first
        assert Path(first.strip()).exists()

    def test_without_nbdkit(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        assert main(["filter", "path"]) == 2
        assert "nbdkit is not installed; install" in capsys.readouterr().err

    def test_without_a_compiler(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("CC", "no-such-compiler")
        assert main(["filter", "path"]) == 2
        assert "no C compiler 'no-such-compiler'" in capsys.readouterr().err

    def test_with_a_compiler_that_fails(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("CC", "false")
        assert main(["filter", "path"]) == 1
        assert "cannot compile" in capsys.readouterr().err
        assert not list(tmp_path.rglob("*.so"))

    def test_install_puts_it_where_nbdkit_looks(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setattr(InstalledNbdkit, "find", lambda: InstalledNbdkit(_version(), tmp_path))
        assert main(["filter", "install"]) == 0
        place = Path(capsys.readouterr().out.strip())
        assert place == tmp_path / FILE_NAME
        assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
        assert place.stat().st_mode & 0o777 == 0o644

    def test_install_where_one_may_not_write(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nowhere = Path("/proc/filters")
        monkeypatch.setattr(InstalledNbdkit, "find", lambda: InstalledNbdkit(_version(), nowhere))
        assert main(["filter", "install"]) == 2
        assert "run it as root, or use --filter=$(vofctl filter path)" in capsys.readouterr().err


def _version() -> str:
    done = subprocess.run(["nbdkit", "--dump-config"], capture_output=True, text=True, check=True)
    return re.search(r"^version=(.*)$", done.stdout, re.M)[1]  # type: ignore[index]


def test_a_plugin_that_cannot_start_says_so_with_the_filter_too() -> None:
    done = run_nbdkit("nonsense=1")
    assert done.returncode != 0
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr
