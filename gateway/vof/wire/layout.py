# SPDX-License-Identifier: BSD-3-Clause
"""Checked record layouts: one statement gives a structure's format, size and field offsets.

Owns the check that format and offsets agree, made at import, so that a wrong layout cannot be
loaded. Must not know any particular record. All integers on the wire are little-endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

_ITEM = re.compile(r"\d*[a-zA-Z]")

_R = TypeVar("_R", bound=NamedTuple)
_F = TypeVar("_F", bound=int | None)


class Field(NamedTuple):
    """The offset and size of a field, in bytes."""

    offset: int
    size: int


class Layout(struct.Struct):
    """A Struct that knows its fields by name."""

    fields: dict[str, Field]


def record(fmt: str, size: int, /, **offsets: int) -> Layout:
    """Return the little-endian layout for ``fmt``, whose size is ``size`` bytes.

    ``offsets`` names every item of ``fmt`` in order with its offset in bytes, as the specification
    draws it. Raises TypeError at import where the two disagree.
    """
    layout = Layout("<" + fmt)
    items = _ITEM.findall(fmt)
    layout.fields = {}
    place = 0
    for item, name in zip(items, offsets, strict=False):
        layout.fields[name] = Field(place, struct.calcsize("<" + item))
        place += layout.fields[name].size
    found = {name: field.offset for name, field in layout.fields.items()}
    if layout.size != size or found != offsets or len(items) != len(offsets):
        raise TypeError(f"layout {fmt!r}: size {layout.size}, {found}; not size {size}, {offsets}")
    return layout


_LAYOUTS: dict[type, Layout] = {}


def laid_out(fmt: str, size: int, /, **offsets: int) -> Callable[[type[_R]], type[_R]]:
    """Class decorator: the NamedTuple's fields are, in order, those of ``record`` so called.

    Raises TypeError at import where their numbers disagree, too.
    """
    layout = record(fmt, size, **offsets)

    def attach(kind: type[_R]) -> type[_R]:
        if len(kind._fields) != len(layout.fields):
            raise TypeError(f"{kind.__name__} has {len(kind._fields)} fields; {fmt!r} does not")
        _LAYOUTS[kind] = layout
        return kind

    return attach


def layout_of(kind: type[NamedTuple]) -> Layout:
    """Return the layout of a class that ``laid_out`` decorates."""
    return _LAYOUTS[kind]


def valid_fields(by_feature: Mapping[_F, Sequence[str]], features: int) -> list[str]:
    """Return the fields of a config space that features make valid (virtio 1.2 §2.5), and those
    that need none, in the order of ``by_feature``."""
    return [
        name
        for feature, names in by_feature.items()
        if feature is None or features & feature
        for name in names
    ]
