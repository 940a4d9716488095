# SPDX-License-Identifier: BSD-3-Clause
"""The package keeps its layers, and the checker sees when one does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.meta.layers import ALLOWED, circles, imports, violations
from tests.meta.tree import PACKAGE, ROOT


def test_the_package_keeps_its_layers() -> None:
    assert violations(PACKAGE) == []


def test_no_module_and_no_folder_imports_itself_through_others() -> None:
    assert circles(PACKAGE) == []


def test_every_layer_was_read() -> None:
    """An empty answer must not come from an empty folder."""
    for layer in ALLOWED:
        modules = list(PACKAGE.glob(f"{layer}/**/*.py")) or list(PACKAGE.glob(f"{layer}.py"))
        assert modules, layer
        assert any(list(imports(module, PACKAGE)) for module in modules), layer


def test_the_plugin_imports_one_gateway() -> None:
    """All logic must be where it can be tested without nbdkit. (Outside nbdkit it is a program.)"""
    plugin = ROOT / "nbdkit-plugin" / "vof_plugin.py"
    ours = {name for _line, name in imports(plugin, plugin.parent) if name.startswith("vof")}
    assert ours == {"vof.gateways.nbd.plugin", "vof.program.run"}


def test_one_module_of_the_target_may_show_what_passes() -> None:
    """``trace`` decodes, and the target must not know what the decoder does."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.glob("target/**/*.py")
        if any(name.startswith("vof.trace") for _line, name in imports(path, PACKAGE))
    }
    assert found == {"target/cli.py"}


DEVICES_MAY_KNOW = {
    "backends",
    "clock",
    "descriptor_watch",
    "devices",
    "native",
    "native_events",
    "values",
}
"""Of the target: what a device model may import, or a backend."""


def test_a_device_knows_no_transport() -> None:
    """So that there is one model of each device, whatever brings the requests."""
    models = [
        path
        for folder in ("descriptor_watch", "devices", "backends")
        for path in PACKAGE.glob(f"target/{folder}/*.py")
    ]
    assert len(models) > 20
    for path in models:
        names = {name for _line, name in imports(path, PACKAGE)}
        assert not any(name.split(".")[0] in ("socket", "select", "selectors") for name in names)
        ours = {name.split(".")[2] for name in names if name.startswith("vof.target.")}
        assert ours <= DEVICES_MAY_KNOW, path
        # The binding has both: a device's own part of it, and what serves a stream.
        assert not {"Queue", "Framer"} & set(attributes_of("native", path)), path


def attributes_of(name: str, path: Path) -> list[str]:
    """Return which attributes of a name a module uses."""
    return [
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    ]


def tree(folder: Path, modules: dict[str, str]) -> Path:
    package = folder / "vof"
    for name, source in modules.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


def test_a_good_tree(tmp_path: Path) -> None:
    package = tree(
        tmp_path,
        {
            "__init__.py": "",
            "errors.py": "import errno\nimport os\n",
            "wire/stream.py": "import collections.abc\nfrom vof.errors import VofError\n",
            "wire/blk.py": "from vof.wire.stream import x\nfrom . import stream\n",
            "fabric/tcp.py": "import socket\nfrom vof.wire import stream\n",
            "initiator/session.py": "from vof.fabric.tcp import x\nfrom ..errors import y\n",
            "drivers/block.py": "import threading\nimport trio\nimport vof.initiator.session\n",
            "gateways/nbd.py": "from vof import __version__\nfrom vof.drivers.block import x\n",
            "target/server.py": "import socket\nfrom vof.wire.stream import x\n",
        },
    )
    assert violations(package) == []


def test_a_circle(tmp_path: Path) -> None:
    package = tree(
        tmp_path,
        {
            "__init__.py": "",
            "gateways/a.py": "from vof.gateways.b import x\n",
            "gateways/b.py": "def f():\n    from vof.gateways import c\n",
            "gateways/c.py": "from . import a, d\n",
            "gateways/d.py": "from vof import __version__\n",
            "gateways/e.py": "from vof.gateways.a import x\n",
        },
    )
    assert circles(package) == [["vof.gateways.a", "vof.gateways.b", "vof.gateways.c"]]


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        # Two folders, by modules that are in no circle, nor in one folder.
        (
            {
                "fuse/cli.py": "from vof.gateways.settings.load import x\n",
                "fuse/options.py": "",
                "settings/load.py": "",
                "settings/keys.py": "from vof.gateways.fuse import options\n",
            },
            ["vof.gateways.fuse", "vof.gateways.settings"],
        ),
        # A folder and a module beside it.
        (
            {
                "nbd.py": "from vof.gateways.attach.deep.path import x\n",
                "attach/deep/path.py": "",
                "attach/plan.py": "from vof.gateways import nbd\n",
            },
            ["vof.gateways.attach", "vof.gateways.nbd"],
        ),
        # A folder in a folder.
        (
            {
                "attach/plan.py": "from vof.gateways.attach.nbd.device import x\n",
                "attach/nbd/device.py": "",
                "attach/nbd/process.py": "from vof.gateways.attach.plan import x\n",
            },
            ["vof.gateways.attach.nbd", "vof.gateways.attach.plan"],
        ),
        # By a compiled module, and by what a folder itself is imported as.
        (
            {
                "a/native.pyi": "",
                "a/plain.py": "from vof.gateways.b import x\n",
                "b/__init__.py": "from vof.gateways.a import native\n",
            },
            ["vof.gateways.a", "vof.gateways.b"],
        ),
        (
            {
                "a/__init__.py": "from vof.gateways.a.b import x\n",
                "a/b.py": "def f():\n    from vof.gateways.a import y\n",
            },
            ["vof.gateways.a.__init__", "vof.gateways.a.b"],
        ),
    ],
)
def test_a_circle_of_folders(tmp_path: Path, modules: dict[str, str], expected: list[str]) -> None:
    package = tree(tmp_path, {f"gateways/{name}": text for name, text in modules.items()})
    assert circles(package) == [expected]


def test_a_folder_may_stand_between_modules(tmp_path: Path) -> None:
    package = tree(
        tmp_path,
        {
            "__init__.py": "",
            "gateways/words.py": "from vof import __version__\n",
            "gateways/settings/keys.py": "from vof.gateways import words\n",
            "gateways/nbd.py": "from vof.gateways.settings.keys import x\n",
        },
    )
    assert circles(package) == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        # back edges, however written
        ("wire/a.py", "from vof.fabric.tcp import x", "wire must not import vof.fabric.tcp.x"),
        ("wire/a.py", "from vof import fabric", "wire must not import vof.fabric"),
        ("wire/a.py", "import vof.target.server", "wire must not import vof.target.server"),
        ("wire/a.py", "from ..initiator import session", "wire must not import vof.initiator"),
        ("wire/a.py", "from .. import drivers", "wire must not import vof.drivers"),
        ("wire/b/c.py", "from ...fabric import tcp", "wire must not import vof.fabric.tcp"),
        ("wire/a.py", "import vof", "name the module"),
        ("fabric/a.py", "from vof.initiator import x", "fabric must not import vof.initiator.x"),
        (
            "initiator/a.py",
            "from vof.drivers.block import x",
            "may import addresses, descriptors, engine, errors",
        ),
        (
            "drivers/a.py",
            "from vof.gateways import nbd",
            "drivers must not import vof.gateways.nbd",
        ),
        ("gateways/a.py", "from vof.target import cli", "gateways must not import vof.target.cli"),
        ("target/a.py", "from vof.fabric import tcp", "target must not import vof.fabric.tcp"),
        ("target/a.py", "from vof.initiator import x", "target must not import vof.initiator.x"),
        ("errors.py", "from vof.wire import names", "errors may import no other layer"),
        ("__init__.py", "from vof.wire import names", "must not import vof.wire.names"),
        # hidden ones
        ("wire/a.py", "def f():\n    import vof.fabric", "a.py:2: wire must not import vof.fabric"),
        (
            "wire/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vof.fabric import tcp",
            "a.py:3: wire must not import vof.fabric.tcp",
        ),
        ("wire/a.py", "__import__('vof.fabric')", "must not import __import__()"),
        ("drivers/a.py", "import importlib\nimportlib.import_module('x')", "import_module()"),
        # I/O where there must be none
        ("wire/a.py", "import socket", "wire is pure"),
        ("wire/a.py", "from threading import Lock", "wire must not import threading.Lock"),
        ("wire/a.py", "import time", "wire is pure"),
        ("wire/a.py", "import logging", "wire is pure"),
        ("wire/a.py", "import os.path", "wire is pure"),
        ("wire/a.py", "import asyncio, trio", "wire must not import trio"),
        ("wire/a.py", "import selectors", "wire is pure"),
        ("wire/a.py", "import collections", "wire is pure"),
        ("errors.py", "import socket", "errors is pure"),
        ("drivers/a.py", "import socket", "another layer's business"),
        ("drivers/a.py", "from trio import socket", "must not import trio.socket"),
        ("initiator/a.py", "from select import poll", "initiator must not import select.poll"),
        ("gateways/nbd.py", "import nbdkit", "gateways must not import nbdkit"),
        # a folder nobody gave a place
        ("helpers/a.py", "", "helpers is not a layer"),
    ],
)
def test_a_bad_tree(tmp_path: Path, module: str, source: str, expected: str) -> None:
    found = violations(tree(tmp_path, {module: source + "\n", "wire/good.py": "import re\n"}))
    assert found
    assert all(line.startswith(module) for line in found)
    assert any(expected in line for line in found), found
