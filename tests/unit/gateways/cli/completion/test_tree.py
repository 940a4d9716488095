# SPDX-License-Identifier: BSD-3-Clause
"""What a completion knows of arguments."""

from __future__ import annotations

import argparse

from vof.gateways.cli.completion.tree import Kind, Option, Value, read


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="made-up", add_help=False)
    groups = root.add_subparsers()
    group = groups.add_parser("group", help="a group", add_help=False)
    verb = group.add_subparsers().add_parser("verb", help="a verb", add_help=False)
    verb.add_argument("-q", "--quiet", action="store_true", help="say less")
    verb.add_argument("--key-file", metavar="FILE")
    verb.add_argument("--dialect")
    verb.add_argument("--name", metavar="NAME")
    verb.add_argument("target", nargs="?", metavar="TVQN|NAME")
    verb.add_argument("rest", nargs="*", choices=["a", "b"])
    return root


def test_what_is_read() -> None:
    root = read(parser())
    assert [verb.words for verb in root.walk()] == [(), ("group",), ("group", "verb")]
    group, verb = root.verbs[0], root.verbs[0].verbs[0]
    assert (group.text, group.options, group.arguments) == ("a group", (), ())
    assert verb.text == "a verb"
    quiet, key_file, dialect, name = verb.options
    assert quiet == Option(("-q", "--quiet"), "say less", None)
    assert key_file == Option(("--key-file",), "", Value(Kind.FILE, "FILE"))
    assert dialect.value is not None
    assert dialect.value.choices == ("auto", "proposal", "v2", "v5")
    assert name.value == Value(Kind.ANYTHING, "NAME")
    assert verb.arguments == (
        Value(Kind.DEVICE, "TVQN|NAME"),
        Value(Kind.CHOICE, "REST", ("a", "b"), repeated=True),
    )
