# SPDX-License-Identifier: BSD-3-Clause
"""An association's end: who is told, in what order, and what is left to be decided."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.protocol_numbers import VRING
from tests.support.scripted_target import Device, ScriptedTarget, on, silence, wait_until
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from vof.errors import SessionLost, VofError
from vof.fabric.interface import InFlight, Queue
from vof.initiator.association import Association
from vof.initiator.opening import open_association
from vof.initiator.recovery import Recovery
from vof.initiator.virtqueue import Virtqueue


class Kept(Recovery):
    """Keeps requests instead of ending them, and with them what was told."""

    def __init__(self) -> None:
        super().__init__(lambda _error: None)
        self.told: list[str] = []
        self.in_flight: list[tuple[Queue, InFlight]] = []

    def ended(self, error: VofError) -> None:
        self.told.append(f"ended: {error}")

    def take(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        self.told.append(queue.name.partition(" ")[2])
        self.in_flight += [(queue, item) for item in in_flight]


def association_with(target: ScriptedTarget) -> Association:
    parameters = parameters_for(target)
    assert parameters.tvqn is not None
    return open_association(parameters.portals[0], parameters, parameters.tvqn).association


def has_ended(association: Association) -> bool:
    association.look()
    return association.error is not None


@pytest.mark.usefixtures("leaves_nothing")
class TestEnd:
    def test_requests_in_flight_are_kept_if_they_are_to_be(self, serve: Serve) -> None:
        """An association ends on its own; what becomes of its requests is another's to say."""
        target = serve(Device(), on(VRING, silence, nth=1), on(VRING, silence, nth=2))
        association = association_with(target)
        association.negotiate(0)
        fabric = association.open_virtqueue(0, 128, None)
        association.driver_ok()
        kept = Kept()
        association.belongs_to(kept)
        virtqueue = Virtqueue(0, 128, fabric, association.dialect)
        sent = [virtqueue.submit("request", [], [], [memoryview(bytearray(1))]) for _ in range(2)]
        wait_until(lambda: target.opcodes().count(VRING) == 2, "the requests")
        target.connections[0].close()
        wait_until(lambda: has_ended(association), "the end")
        assert kept.told == [f"ended: {association.error}", "virtqueue 0", "control queue"]
        assert [item for _queue, item in kept.in_flight] == sent
        assert not any(pending.done for pending in sent if pending)
        for queue, item in kept.in_flight:
            queue.end(item, SessionLost("given up"))
        for pending in sent:
            assert pending is not None
            with pytest.raises(SessionLost, match="given up"):
                virtqueue.wait(pending)

    def test_that_came_before_anybody_was_to_be_told_is_told_at_once(self, serve: Serve) -> None:
        association = association_with(serve())
        association.end(SessionLost("too soon"))
        kept = Kept()
        association.belongs_to(kept)
        assert kept.told == ["ended: too soon"]
