# SPDX-License-Identifier: BSD-3-Clause
"""The completion for bash; it needs nothing but bash and sed."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from vof.gateways.cli.completion.tree import Kind, Value, Verb

DEVICES = r"""
_{program}_devices() {{
    local folder=${{VOF_CONFIG_DIR:-/etc/vof}}
    sed -n 's/^[[:space:]]*\[ *device  *\([A-Za-z0-9._-]*\) *\].*/\1/p' \
        "$folder"/vof.conf "$folder"/vof.conf.d/*.conf 2>/dev/null
}}
"""
"""Prints the names of the configured devices; zsh has it too. To be formatted."""

_FUNCTION = r"""
_{program}() {{
    local word previous path= verbs= options= argument= kind= index
    word=${{COMP_WORDS[COMP_CWORD]}}
    previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    # Bash makes three words of --option=value.
    [[ $word == = ]] && word=
    [[ $previous == = ]] && previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$path ${{COMP_WORDS[index]}}" in
            {paths}) path+=" ${{COMP_WORDS[index]}}" ;;
        esac
    done
    case "$path" in
{verbs}
    esac
    case "$path $previous" in
{values}
        *) [[ $word == -* ]] || kind=$argument ;;
    esac
    case "$kind" in
        '')
            [[ -z $verbs || $word == -* ]] && verbs=$options
            COMPREPLY=($(compgen -W "$verbs" -- "$word"))
            ;;
        device) COMPREPLY=($(compgen -W "$(_{program}_devices)" -- "$word")) ;;
        file)
            compopt -o filenames
            COMPREPLY=($(compgen -f -- "$word"))
            ;;
        anything) COMPREPLY=() ;;
        *) COMPREPLY=($(compgen -W "$kind" -- "$word")) ;;
    esac
}}
complete -F _{program} {program}
"""


def script(program: str, root: Verb) -> str:
    """Return the completion of a program."""
    every = [verb for verb in root.walk() if verb.words]
    return (
        f"# bash completion of {program}\n"
        + DEVICES.format(program=program)
        + _FUNCTION.format(
            program=program,
            paths=" | ".join(quote(_path(verb)) for verb in every),
            verbs="\n".join(_verb(verb) for verb in root.walk()),
            values="\n".join(_values(root)),
        )
    )


def _path(verb: Verb) -> str:
    return "".join(f" {word}" for word in verb.words)


def _verb(verb: Verb) -> str:
    """Return the case of a verb: what may follow it."""
    verbs = quote(" ".join(child.words[-1] for child in verb.verbs))
    options = quote(" ".join(name for option in verb.options for name in option.names))
    argument = quote(_kind(verb.arguments[0]) if verb.arguments else "")
    return f"        {quote(_path(verb))}) verbs={verbs} options={options} argument={argument} ;;"


def _values(root: Verb) -> Iterator[str]:
    """Yield the cases of options that take a value."""
    for verb in root.walk():
        for option in verb.options:
            if option.value is not None:
                names = " | ".join(quote(f"{_path(verb)} {name}") for name in option.names)
                yield f"        {names}) kind={quote(_kind(option.value))} ;;"


def _kind(value: Value) -> str:
    return " ".join(value.choices) if value.kind is Kind.CHOICE else value.kind.value
