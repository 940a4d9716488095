# SPDX-License-Identifier: BSD-3-Clause
"""The completion for zsh, by its own _arguments and _describe (zshcompsys(1))."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from vof.gateways.cli.completion.bash import DEVICES
from vof.gateways.cli.completion.tree import Kind, Option, Value, Verb

_GROUP = """
{function}() {{
    local curcontext=$curcontext state line
    _arguments -C \\
{specs}
        '1:verb:->verb' '*::argument:->rest'
    case $state in
        verb)
            local -a verbs=(
{verbs}
            )
            _describe verb verbs
            ;;
        rest)
            case $words[1] in
{cases}
            esac
            ;;
    esac
}}
"""

_VERB = """
{function}() {{
    _arguments -S \\
{specs}
}}
"""


def script(program: str, root: Verb) -> str:
    """Return the completion of a program, to be found as the file ``_PROGRAM``."""
    names = f"""
_{program}_device_names() {{
    local -a names=(${{(f)"$(_{program}_devices)"}})
    _describe device names
}}
"""
    functions = "".join(_function(program, verb) for verb in root.walk())
    # The first call, by which the functions are loaded, is one to complete, too.
    start = f'\nif [[ $funcstack[1] == _{program} ]]; then\n    _{program} "$@"\nelse\n'
    start += f"    compdef _{program} {program}\nfi\n"
    return f"#compdef {program}\n{DEVICES.format(program=program)}{names}{functions}{start}"


def _function(program: str, verb: Verb) -> str:
    name = _name(program, verb)
    specs = [*map(_option, verb.options), *_arguments(program, verb)]
    specs = [spec.replace("PROGRAM", program) for spec in specs]
    if not verb.verbs:
        return _VERB.format(function=name, specs=_lines(specs, 8))
    verbs = [quote(f"{child.words[-1]}:{child.text}") for child in verb.verbs]
    cases = [f"{quote(child.words[-1])}) {_name(program, child)} ;;" for child in verb.verbs]
    return _GROUP.format(
        function=name,
        specs=_lines(specs, 8) + " \\",
        verbs="\n".join(f"                {each}" for each in verbs),
        cases="\n".join(f"                {each}" for each in cases),
    )


def _name(program: str, verb: Verb) -> str:
    return "_".join(["", program, *(word.replace("-", "_") for word in verb.words)])


def _lines(specs: list[str], indent: int) -> str:
    return " \\\n".join(" " * indent + spec for spec in specs)


def _option(option: Option) -> str:
    """Return what _arguments is told of an option; one that ends the program stands alone."""
    text = option.text.replace("[", "\\[").replace("]", "\\]")
    behind = quote(f"[{text}]" + (_value(option.value) if option.value else ""))
    alone = "'(- *)'" if {"--help", "--version"} & set(option.names) else ""
    if len(option.names) == 1:
        return f"{alone}{option.names[0]}{behind}"
    others = alone or f"'({' '.join(option.names)})'"
    return f"{others}{{{','.join(option.names)}}}{behind}"


def _arguments(program: str, verb: Verb) -> Iterator[str]:
    for place, value in enumerate(verb.arguments, 1):
        yield quote(f"{'*' if value.repeated else place}{_value(value)}")


def _value(value: Value) -> str:
    """Return message and action of a value."""
    message = value.placeholder.replace(":", "\\:")
    actions = {
        Kind.CHOICE: f"({' '.join(value.choices)})",
        Kind.DEVICE: "_PROGRAM_device_names",
        Kind.FILE: "_files",
        Kind.ANYTHING: " ",
    }
    return f":{message}:{actions[value.kind]}"
