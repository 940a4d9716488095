# SPDX-License-Identifier: BSD-3-Clause
"""Options and names of vof-mount, in whatever order they come."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.gateways.fuse.arguments import arguments, helper_arguments

NAMES = ["a/b.service", "c,d", "/mnt"]

USER = (["-o", "taddr=x"], ["-f"], ["-omode=640"], ["--trace"], ["-fo", "uid=1"], ["-o", "-"])
USER_OPTIONS = ["taddr=x", "mode=640", "uid=1", "-"]

HELPER = (["-o", "ro"], ["-t", "fuse.vof"], ["-snv"], ["-N", "/proc/7/ns/mnt"], ["-o", "x"])


@st.composite
def mixed(draw: st.DrawFn, options: tuple[list[str], ...], names: list[str]) -> list[str]:
    """Make a command line of names and options, each in their own order."""
    places = draw(st.permutations([True] * len(names) + [False] * len(options)))
    ahead, groups = iter(names), iter(options)
    return [word for is_name in places for word in ([next(ahead)] if is_name else next(groups))]


@given(mixed(USER, NAMES))
def test_a_user_gives_them_in_any_order(words: list[str]) -> None:
    given = arguments().parse_args(words)
    assert (given.words, given.options) == (NAMES, USER_OPTIONS)
    assert (given.foreground, given.trace, given.config) == (True, True, None)


@given(mixed(HELPER, NAMES[1:]))
def test_so_does_mount(words: list[str]) -> None:
    given = helper_arguments("mount.fuse.vof").parse_args(words)
    assert (given.words, given.options, given.type) == (NAMES[1:], ["ro", "x"], "fuse.vof")
    assert not given.fake


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--", "-a", "/mnt"], ["-a", "/mnt"]),
        (["a", "-o", "ro", "--", "-f"], ["a", "-f"]),
        (["a", "--", "-o", "ro", "-f"], ["a", "-o", "ro", "-f"]),
        (["a", "-o", "ro", "-", "/mnt"], ["a", "-", "/mnt"]),
        (["a", "-o", "ro", "-1", "-b c", "/mnt"], ["a", "-1", "-b c", "/mnt"]),
        (["-o", "ro"], []),
        ([], []),
    ],
)
def test_names_that_look_like_options(words: list[str], names: list[str]) -> None:
    assert arguments().parse_args(words).words == names


@pytest.mark.parametrize(
    ("parser", "words", "complaint"),
    [
        (arguments(), ["a", "--bogus", "/mnt"], "unrecognized arguments: --bogus"),
        (arguments(), ["a", "/mnt", "-x"], "unrecognized arguments: -x"),
        (arguments(), ["a", "--conf", "b"], "unrecognized arguments: --conf"),
        (arguments(), ["a", "/mnt", "-o"], "argument -o: expected one argument"),
        (arguments(), ["a", "-o", "-f", "/mnt"], "argument -o: expected one argument"),
        (helper_arguments("m"), ["a", "-n"], "required: SOURCE MOUNTPOINT"),
        (helper_arguments("m"), ["a", "-n", "/mnt", "b"], "unrecognized arguments: b"),
    ],
)
def test_what_cannot_be_taken(
    parser: argparse.ArgumentParser,
    words: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
