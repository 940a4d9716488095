# SPDX-License-Identifier: BSD-3-Clause
"""Inodes: numbers that stay, and are forgotten when the kernel forgets."""

from __future__ import annotations

import gc
import weakref

import pytest

from vof.gateways.fuse.nodes import Folder, Node
from vof.gateways.fuse.tree import ROOT, Inodes


def test_the_root_is_always_there() -> None:
    root = Folder()
    inodes = Inodes(root)
    assert inodes.number(root) == ROOT
    inodes.remember(root)
    inodes.forget(ROOT, 1)
    inodes.forget(ROOT, 100)
    assert inodes.node(ROOT) is root


def test_lookups_are_counted() -> None:
    inodes = Inodes(Folder())
    node = Node()
    number = inodes.remember(node)
    assert inodes.remember(node) == number == inodes.number(node)
    inodes.forget(number, 1)
    assert inodes.node(number) is node
    inodes.forget(number, 1)
    with pytest.raises(OSError, match="no such inode"):
        inodes.node(number)
    assert inodes.number(node) == number
    assert len(inodes) == 1


def test_what_is_forgotten_is_gone() -> None:
    inodes = Inodes(Folder())
    node = Node()
    number = inodes.remember(node)
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is not None
    inodes.forget(number, 1)
    gc.collect()
    assert gone() is None


def test_no_number_is_given_twice() -> None:
    inodes = Inodes(Folder())
    numbers = set()
    for _ in range(100):
        number = inodes.remember(Node())
        inodes.forget(number, 1)
        numbers.add(number)
    assert len(numbers) == 100


def test_forgetting_too_much_does_no_harm() -> None:
    inodes = Inodes(Folder())
    number = inodes.remember(Node())
    inodes.forget(number, 5)
    inodes.forget(number, 5)
    inodes.forget(12345, 1)
    assert len(inodes) == 1
