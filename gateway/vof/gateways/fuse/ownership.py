# SPDX-License-Identifier: BSD-3-Clause
"""The owner of the files of a mount, and what others may do with them."""

from __future__ import annotations

from dataclasses import dataclass

from vof.gateways.fuse.nodes import Access, Folder, Node

PRIVATE_MODE = 0o600
"""Permissions of what is not public, unless the user says ``mode=``."""

PUBLIC_MODE = 0o644


@dataclass(frozen=True)
class Ownership:
    """An owner, a group and permissions."""

    uid: int
    gid: int
    mode: int | None = None
    """Permissions for all files; None: 0600, and public ones can be read by all."""

    def permissions(self, node: Node) -> int:
        """Return the permission bits of a node."""
        mode = self.mode
        if mode is None:
            mode = PUBLIC_MODE if node.public else PRIVATE_MODE
        if isinstance(node, Folder):
            return mode | (mode & Access.READ) >> 2  # who may read a folder may enter it
        return mode & node.access
