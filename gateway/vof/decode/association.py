# SPDX-License-Identifier: BSD-3-Clause
"""The state of each association, as told so far: names, dialect, device, features, eager ranges.

Owns how the Connect of a virtqueue is matched with its association, and which dialect it may be
where no Connect said so. Must not know connections or messages. Nothing here is certain: a capture
may have missed any of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vof.decode.budget import without_oldest
from vof.decode.buffers import Area
from vof.decode.plausible import is_likely
from vof.decode.requests import Device
from vof.wire.connect import Names
from vof.wire.dialect import DIALECTS, Dialect


@dataclass(eq=False)
class Association:
    """One initiator's use of one device."""

    target: str = ""
    """Address and port, or nothing in a recording."""
    names: Names | None = None
    dialects: tuple[Dialect, ...] = DIALECTS
    """Those that it may be."""
    certain: bool = False
    """Its Connect said which."""
    device: Device = field(default_factory=Device)
    transport_features: int | None = None
    """In force; None where their negotiation may have been missed."""
    max_descs: int | None = None
    """Keyed descriptors that one command may have; None likewise."""
    eager: dict[int, Area] = field(default_factory=dict)
    """The eager buffers, by virtqueue."""

    @property
    def dialect(self) -> Dialect:
        """The dialect to read it in: the latest of those that it may be."""
        return self.dialects[-1]

    def admit(self, head: bytes) -> None:
        """Take note of a command, which not every dialect has, or has so."""
        if self.certain:
            return
        for among in (self.dialects, DIALECTS):
            known = tuple(each for each in among if each.command_of(head))
            if known:
                likely = tuple(each for each in known if is_likely(head, each))
                self.dialects = likely or known
                return


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
        association = self._new(target, names, dialects)
        association.transport_features, association.max_descs = 0, 1
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
        return association or self._new(target, names, dialects)

    def _new(self, target: str, names: Names | None, dialects: tuple[Dialect, ...]) -> Association:
        certain = len(dialects) == 1
        association = Association(target, names, dialects, certain, self._device)
        if names:
            self._by_names[target, names] = association
            without_oldest(self._by_names)
        return association
