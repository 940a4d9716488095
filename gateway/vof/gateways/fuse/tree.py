# SPDX-License-Identifier: BSD-3-Clause
"""Inodes: the numbers by which the kernel knows the nodes, and how often it has looked each up.

A node keeps its number as long as it lives, and no number is given twice. A node that the kernel
remembers lives until it is forgotten, though it may have left its folder long before.
"""

from __future__ import annotations

import errno
from itertools import count
from weakref import WeakKeyDictionary

from vof.gateways.fuse.nodes import Node

ROOT = 1
"""The kernel's number of the mount's root; never forgotten."""


class Inodes:
    """The nodes by number."""

    def __init__(self, root: Node) -> None:
        self._numbers: WeakKeyDictionary[Node, int] = WeakKeyDictionary({root: ROOT})
        self._known: dict[int, Node] = {ROOT: root}
        self._lookups: dict[int, int] = {}
        self._next = count(ROOT + 1)

    def number(self, node: Node) -> int:
        """Return a node's number."""
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = next(self._next)
        return number

    def remember(self, node: Node) -> int:
        """Count a lookup of ``node`` by the kernel; return its number."""
        number = self.number(node)
        self._known[number] = node
        self._lookups[number] = self._lookups.get(number, 0) + 1
        return number

    def forget(self, number: int, lookups: int) -> None:
        """Take back that many lookups."""
        left = self._lookups.get(number, 0) - lookups
        if left > 0:
            self._lookups[number] = left
            return
        self._lookups.pop(number, None)
        if number != ROOT:
            self._known.pop(number, None)

    def node(self, number: int) -> Node:
        """Return the node with a number the kernel knows."""
        try:
            return self._known[number]
        except KeyError:
            raise OSError(errno.ESTALE, "no such inode") from None

    def __len__(self) -> int:
        return len(self._known)
