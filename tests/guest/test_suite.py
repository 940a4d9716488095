# SPDX-License-Identifier: BSD-3-Clause
"""What is said outside of a suite that ran inside: here, of one that needs no guest."""

from pathlib import Path

import pytest

from tests.guest.suite import Suite, run_suite

GOOD = """\
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_good(number): pass
"""
BAD = """\
import pytest

@pytest.fixture
def broken():
    yield
    raise RuntimeError("torn down badly")

def test_fails(): assert 1 + 1 == 3
def test_skips(): pytest.skip("no time")
def test_leaves_a_mess(broken): pass
"""


def suite(folder: Path, *arguments: str, **files: str) -> Suite:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    # Rooted there: neither our settings nor our conftest.py are what is looked at.
    run_suite("inner", *arguments, f"--rootdir={folder}", str(folder), folder=folder)
    return Suite.read(folder / "inner.jsonl")


def test_suite_that_passes(tmp_path: Path) -> None:
    inner = suite(tmp_path, test_good=GOOD)
    assert [found.state for found in inner.tests.values()] == ["passed", "passed"]
    inner.judge()
    inner.judge("test_good.py")
    with pytest.raises(AssertionError, match="no test ran of test_other"):
        inner.judge("test_other.py")


def test_each_way_not_to_pass(tmp_path: Path) -> None:
    inner = suite(tmp_path, test_bad=BAD)
    assert {test: found.state for test, found in inner.tests.items()} == {
        "test_bad.py::test_fails": "failed",
        "test_bad.py::test_skips": "skipped",
        "test_bad.py::test_leaves_a_mess": "failed",
    }
    with pytest.raises(AssertionError, match="3 of 3 did not pass") as caught:
        inner.judge()
    for text in ("assert (1 + 1) == 3", "no time", "torn down badly"):
        assert text in str(caught.value)


def test_file_that_cannot_be_imported(tmp_path: Path) -> None:
    inner = suite(tmp_path, test_bad="import nothing_like_it", test_good=GOOD)
    with pytest.raises(AssertionError, match="nothing_like_it"):
        inner.judge()


def test_suite_that_hangs(tmp_path: Path) -> None:
    hanging = "import os\ndef test_first(): pass\ndef test_hangs(): os._exit(1)\n"
    inner = suite(tmp_path, test_hanging=hanging)
    with pytest.raises(AssertionError, match="test_hangs started"):
        inner.judge()


def test_suite_without_its_end(tmp_path: Path) -> None:
    report = tmp_path / "cut.jsonl"
    report.write_text('{"test": "a", "state": "passed", "text": ""}\n{"exit', encoding="utf-8")
    with pytest.raises(AssertionError, match="never came to its end"):
        Suite.read(report).judge()


def test_suite_without_tests(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no test ran of any file"):
        suite(tmp_path, test_empty="").judge()
