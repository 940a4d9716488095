# SPDX-License-Identifier: BSD-3-Clause
"""The verbs and options of the program, in the form that a completion is made of.

Owns what an argument's value can be, which its placeholder tells. Must not know a shell.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from vof.gateways.settings.keys import CHOICES


class Kind(Enum):
    """A kind of value."""

    ANYTHING = "anything"
    CHOICE = "choice"
    DEVICE = "device"
    """The name of a device in the configuration."""
    FILE = "file"


@dataclass(frozen=True)
class Value:
    """The value of an argument, or of an option."""

    kind: Kind
    placeholder: str
    choices: tuple[str, ...] = ()
    repeated: bool = False


@dataclass(frozen=True)
class Option:
    """An option; ``value`` is None for one that takes none."""

    names: tuple[str, ...]
    text: str
    value: Value | None


@dataclass(frozen=True)
class Verb:
    """A verb, a group of verbs, or the program: ``words`` lead to it."""

    words: tuple[str, ...]
    text: str
    options: tuple[Option, ...]
    arguments: tuple[Value, ...]
    verbs: tuple[Verb, ...] = field(default=())

    def walk(self) -> Iterator[Verb]:
        """Yield this and all below it."""
        yield self
        for verb in self.verbs:
            yield from verb.walk()


def read(parser: argparse.ArgumentParser, text: str = "", *words: str) -> Verb:
    """Return what a parser takes."""
    options, arguments, verbs = [], [], []
    for action in parser._actions:  # noqa: SLF001 - argparse tells its arguments nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            texts = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            for word, child in action.choices.items():
                verbs.append(read(child, texts.get(word, ""), *words, word))
        elif action.option_strings:
            value = None if action.nargs == 0 else _value(action)
            options.append(Option(tuple(action.option_strings), action.help or "", value))
        else:
            arguments.append(_value(action))
    return Verb(words, text, tuple(options), tuple(arguments), tuple(verbs))


def _value(action: argparse.Action) -> Value:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    repeated = action.nargs in ("*", "+")
    choices = CHOICES.get(action.dest) if action.choices is None else map(str, action.choices)
    if choices is not None:
        return Value(Kind.CHOICE, metavar, tuple(choices), repeated)
    kind = Kind.ANYTHING
    if "FILE" in metavar:
        kind = Kind.FILE
    elif "TVQN" in metavar or (not action.option_strings and "NAME" in metavar):
        kind = Kind.DEVICE
    return Value(kind, metavar, (), repeated)
