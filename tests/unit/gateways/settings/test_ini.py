# SPDX-License-Identifier: BSD-3-Clause
"""The text of a configuration file: what is read, and what is wrong with it, by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.gateways.settings.ini import Section, read_sections
from vof.gateways.settings.origin import Origin

PATH = Path("/etc/vof/vof.conf")


def read(data: bytes) -> tuple[list[Section], list[tuple[str, str | None]]]:
    found: list[tuple[str, str | None]] = []

    def report(origin: Origin, text: str, section: Section | None) -> None:
        found.append((f"{origin}: {text}", section.header if section else None))

    return read_sections(PATH, data, report), found


def test_what_a_file_says() -> None:
    sections, problems = read(
        b"# a comment\r\n"
        b"; another\n"
        b"[defaults]\r\n"
        b"taddr=storage1\r\n"
        b"\n"
        b"  [ device   disk0 ]  \n"
        b"\ttvqn =  a/b = c # d ; e  \n"
        b"readonly="
    )
    assert problems == []
    assert [(section.header, section.origin.line) for section in sections] == [
        ("defaults", 3),
        ("device disk0", 6),
    ]
    values = sections[1].values
    assert {key: value.text for key, value in values.items()} == {
        "tvqn": "a/b = c # d ; e",
        "readonly": "",
    }
    assert str(values["tvqn"].origin) == "/etc/vof/vof.conf:7"


@pytest.mark.parametrize(
    ("data", "line", "words", "within"),
    [
        (b"a = b", 1, "a stands before the first [section]", None),
        (b"[x]\nnonsense", 2, "'nonsense' is neither [section] nor key = value", "x"),
        (b"[x]\n= value", 2, "'= value' is neither [section] nor key = value", "x"),
        (b"[x]\na=1\nb=2\na=3", 4, "a is given twice; first in line 2", "x"),
        (b"[x]\n[y]\n[x]\na=b", 3, "[x] is here twice; it began in line 1", "x"),
        (b"[x", 1, "'[x' is not a [section]", None),
        (b"[x] # y", 1, "'[x] # y' is not a [section]", None),
        (b"[x]\n\na = b\0c", 3, "contains a NUL; this is no text", "x"),
        (b"\0" * 9, 1, "contains a NUL; this is no text", None),
        (b"[x]\na = \xff\xfe", 2, "not UTF-8 text: byte 0xff", "x"),
        (
            b"\xef\xbb\xbf[x]",
            1,
            "contains the unprintable character '\\ufeff'; this is no text",
            None,
        ),
        (b"[x]\n\x1b[2J = y", 2, "the unprintable character '\\x1b'; this is no text", "x"),
    ],
)
def test_what_is_wrong(data: bytes, line: int, words: str, within: str | None) -> None:
    _sections, problems = read(data)
    assert len(problems) == 1
    text, section = problems[0]
    assert text.startswith(f"{PATH}:{line}: ")
    assert text.endswith(words)
    assert section == within


def test_reading_goes_on_behind_what_is_wrong() -> None:
    sections, problems = read(b"x\n[a\ny = 1\n[b]\n\xff\nz = 2\n[b]\nz = 3\n[c]\nz = 4")
    assert len(problems) == 4
    assert {section.header: section.values["z"].text for section in sections} == {
        "b": "2",
        "c": "4",
    }


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    sections, problems = read(data)
    assert all(len(text.splitlines()) == 1 and text.isprintable() for text, _within in problems)
    assert all("\0" not in section.header for section in sections)


_words = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="[]#;="),
    min_size=1,
    max_size=8,
)


@given(st.dictionaries(_words, st.dictionaries(_words, _words)))
def test_what_was_written_is_read(content: dict[str, dict[str, str]]) -> None:
    text = "".join(
        f"[{header}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for header, values in content.items()
    )
    sections, problems = read(text.encode())
    assert problems == []
    assert content == {
        section.header: {key: value.text for key, value in section.values.items()}
        for section in sections
    }
