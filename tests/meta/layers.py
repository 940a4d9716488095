# SPDX-License-Identifier: BSD-3-Clause
"""Reads what each module imports, and finds where that breaks the layers or makes a circle.

The layers import in one direction, ``wire → fabric → engine → initiator → drivers → gateways``; of
these ``target`` knows ``wire`` alone, so that no mistake of the others can sit in both ends and
cancel out; so does ``decode``, which follows both from outside. The rest belongs to neither end.
``implementation`` says which of two that do the same is used, and may be asked by both ends;
``counts`` are records that both ends count in, ``logline`` is how both log, and ``metrics`` how
both show what they counted.
``trace`` shows what passes through the connections of either end, by ``decode``; of the target,
``cli`` alone knows it.
``rdma`` is what both ends have to know of pyverbs and of a machine's RDMA devices.
``notify`` tells systemd how a program is doing, whichever end that is; ``program`` is how one
begins and ends, and ``__main__`` which there are.
``addresses`` and ``descriptors`` are what a user says of where, and what the system lets a program
open.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from itertools import takewhile
from pathlib import Path

ALLOWED = {
    "errors": frozenset[str](),
    "implementation": frozenset({"errors"}),
    "__main__": frozenset({"gateways", "program", "target"}),
    "notify": frozenset[str](),
    "program": frozenset({"logline"}),
    "addresses": frozenset({"errors"}),
    "descriptors": frozenset[str](),
    "counts": frozenset[str](),
    "logline": frozenset[str](),
    "rdma": frozenset[str](),
    "metrics": frozenset({"addresses", "counts", "descriptors", "errors", "logline"}),
    "trace": frozenset({"errors", "implementation", "logline", "decode"}),
    "wire": frozenset({"errors"}),
    "fabric": frozenset({"addresses", "counts", "descriptors", "errors", "rdma", "wire"}),
    "engine": frozenset({"counts", "errors", "implementation", "wire", "fabric"}),
    "initiator": frozenset({"addresses", "descriptors", "errors", "wire", "fabric", "engine"}),
    "drivers": frozenset({"errors", "wire", "fabric", "engine", "initiator"}),
    "gateways": frozenset(
        {
            *("counts", "errors", "logline", "wire", "fabric", "engine", "initiator", "drivers"),
            *("addresses", "decode", "descriptors", "metrics", "notify", "program", "trace"),
        }
    ),
    "decode": frozenset({"errors", "wire"}),
    "target": frozenset(
        {
            *("addresses", "counts", "descriptors", "errors", "implementation", "logline"),
            *("metrics", "notify", "program", "rdma", "trace", "wire"),
        }
    ),
}
"""The other layers each may import."""

_WIRE = frozenset(
    {
        "__future__",
        "collections.abc",
        "dataclasses",
        "enum",
        "errno",
        "functools",
        "itertools",
        "re",
        "struct",
        "typing",
        "uuid",
    }
)

PURE = {
    "errors": frozenset({"__future__", "errno", "os"}),
    "wire": _WIRE,
    # Reads files that others have opened.
    "decode": _WIRE | {"collections", "errno", "heapq", "io", "ipaddress", "json"} | {"datetime"},
}
"""All that a layer may import from elsewhere: nothing that does I/O, waits, or tells the time."""

_SOCKETS = frozenset(
    {"asyncio", "select", "selectors", "socket", "socketserver", "ssl", "trio.socket"}
)

FORBIDDEN = {
    "initiator": _SOCKETS | {"nbd", "nbdkit", "pyfuse3"},
    "drivers": _SOCKETS | {"nbd", "nbdkit", "pyfuse3"},
    "gateways": frozenset({"nbdkit"}),
}
"""What a layer must not import from elsewhere: sockets, or the host a gateway lives in."""

_DYNAMIC = frozenset({"__import__", "exec", "eval", "import_module"})


def violations(package: Path) -> list[str]:
    """Return a line for each import in the folder ``package`` that is not allowed."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        layer = place.parts[0].removesuffix(".py")
        if layer == "__init__":
            layer = "errors"  # what every layer can import must import none of them either
        if layer not in ALLOWED:
            found.append(f"{place}: {layer} is not a layer")
            continue
        for line, name in imports(path, package):
            if reason := _reason(layer, name):
                found.append(f"{place}:{line}: {layer} must not import {name}: {reason}")
    return found


def circles(package: Path) -> list[list[str]]:
    """Return what imports itself through others, now or later, once per circle.

    That is so of folders as of modules: in each folder, the modules that stand there and the
    folders, each with all that is below it, import each other in one direction. So a module may
    stand above the folder beside it, or beneath it, but never both; nor may two folders.
    """
    modules = _modules(package)
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        for other in _imported(path, package, modules.keys()):
            one, imported = _where_they_part(name, other)
            graph.setdefault(one, set()).add(imported)
            graph.setdefault(imported, set())
    return circles_in({name: imported - {name} for name, imported in graph.items()})


def circles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return those that come to themselves through others, once per circle."""
    circles = []
    left = set(graph)
    while left:
        start = min(left)
        circle = {name for name in _reached(graph, start) if start in _reached(graph, name)}
        left -= circle | {start}
        if circle:
            circles.append(sorted(circle))
    return circles


def _modules(package: Path) -> dict[str, Path]:
    """Return every module by its full name, compiled ones by their stub; that of a folder itself
    ends in ``__init__``, for it is one of those in it."""
    paths = sorted((*package.rglob("*.py"), *package.rglob("*.pyi")))
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in paths
    }


def _imported(path: Path, package: Path, modules: Set[str]) -> set[str]:
    """Return the modules of the package that one imports."""
    found = set()
    for _line, imported in imports(path, package):
        # What is imported may be a name in a module.
        name = imported
        while name and not {name, f"{name}.__init__"} & modules:
            name = name.rpartition(".")[0]
        found |= {name, f"{name}.__init__"} & modules
    return found


def _where_they_part(name: str, other: str) -> tuple[str, str]:
    """Return two modules, or the folders that they are in, as they stand beside each other."""
    parts, others = name.split("."), other.split(".")
    pairs = zip(parts[:-1], others[:-1], strict=False)
    length = 1 + len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return ".".join(parts[:length]), ".".join(others[:length])


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return all that a module imports, itself or through others."""
    reached: set[str] = set()
    new = {start}
    while new:
        new = {each for name in new for each in graph[name]} - reached
        reached |= new
    return reached


def imports(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Return line and full name of everything a module imports, wherever in it that stands.

    ``from a import b`` is ``a.b``, whether b is a module or not.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    parents = (package.name, *path.relative_to(package).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [*parents[: len(parents) - node.level + 1], *base]
            for alias in node.names:
                yield node.lineno, ".".join((*base, alias.name))
        elif isinstance(node, ast.Call) and _called(node.func) in _DYNAMIC:
            yield node.lineno, f"{_called(node.func)}()"


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _reason(layer: str, name: str) -> str:
    """Say why ``layer`` must not import ``name``; empty where it may."""
    if name.endswith("()"):
        return "imports are written where they can be read"
    top, *rest = name.split(".")
    if top != "vof":
        if layer in PURE and not any(_within(name, allowed) for allowed in PURE[layer]):
            return f"{layer} is pure"
        if any(_within(name, forbidden) for forbidden in FORBIDDEN.get(layer, ())):
            return "that is another layer's business"
        return ""
    if not rest or rest[0] == layer or rest[0] == "__version__":
        return "" if rest else "name the module"
    if rest[0] in ALLOWED[layer]:
        return ""
    return f"{layer} may import {', '.join(sorted(ALLOWED[layer])) or 'no other layer'}"


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")
