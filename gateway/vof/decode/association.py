# SPDX-License-Identifier: BSD-3-Clause
"""What is known of each association: names, dialect, device, features, eager ranges.

Owns how the Connect of a virtqueue is matched with its association. Must not know connections or
messages. Nothing here is certain: a capture may have missed any of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vof.decode.budget import without_oldest
from vof.decode.buffers import Area
from vof.decode.commands import dialects_with
from vof.decode.requests import Device
from vof.wire.dialect import DIALECTS, Dialect


class Names(NamedTuple):
    """What a connect body says."""

    ivqn: str
    tvqn: str


@dataclass(eq=False)
class Association:
    """One initiator's use of one device."""

    target: str = ""
    """Address and port, or nothing in a recording."""
    names: Names | None = None
    dialects: tuple[Dialect, ...] = DIALECTS
    """Those that it may be."""
    device: Device = field(default_factory=Device)
    transport_features: int | None = None
    """In force; None where their negotiation may have been missed."""
    max_descs: dict[int, int] = field(default_factory=dict)
    """By virtqueue, the keyed descriptors that one command may have in each direction."""
    eager: dict[int, Area] = field(default_factory=dict)
    """The eager buffers, by virtqueue."""

    @property
    def dialect(self) -> Dialect | None:
        """The dialect, None while more than one is possible."""
        return self.dialects[0] if len(self.dialects) == 1 else None

    def admit(self, opcode: int) -> bool:
        """Take note of an opcode that was used; False if the association's dialect lacks it."""
        known = dialects_with(opcode, self.dialects)
        self.dialects = known or self.dialects
        return bool(known)


class Associations:
    """All of them, as they were made."""

    def __init__(self, device_id: int | None = None) -> None:
        """``device_id`` is the device type to assume where the conversation does not tell."""
        self._device = Device(device_id)
        self._by_names: dict[tuple[str, Names], Association] = {}
        self._by_id: dict[tuple[str, int], Association] = {}

    def unknown(self, target: str) -> Association:
        """Return one for a connection whose Connect is not known."""
        return Association(target, device=self._device)

    def control(
        self, target: str, names: Names | None, dialects: tuple[Dialect, ...]
    ) -> Association:
        """Return a new one, for the Connect of a control queue. ``names`` may be missing."""
        association = Association(
            target, names, dialects or DIALECTS, self._device, transport_features=0
        )
        self._remember(association)
        return association

    def allocated(self, association: Association, target_id: int) -> None:
        """Take note of the target id that a control queue's Connect was answered with."""
        self._by_id[association.target, target_id] = association
        without_oldest(self._by_id)

    def virtqueue(
        self, target: str, target_id: int, names: Names | None, dialects: tuple[Dialect, ...]
    ) -> Association:
        """Return the one that the Connect of a virtqueue belongs to. ``names`` may be missing."""
        association = self._by_id.get((target, target_id))
        if names and (association is None or association.names not in {None, names}):
            # The reference target's completions bring other target ids than it allocated.
            association = self._by_names.get((target, names))
        if association is None:
            association = Association(target, names, dialects or DIALECTS, self._device)
            self._remember(association)
        return association

    def _remember(self, association: Association) -> None:
        if association.names:
            self._by_names[association.target, association.names] = association
            without_oldest(self._by_names)
