# SPDX-License-Identifier: BSD-3-Clause
"""What is read of a target's log about its work requests."""

from tests.guest.operations import of_target

CONNECTED = """\
vof-target: peer=10.40.1.1:qp17 ivqn=one target_id=0 queue=control transport=rdma event=connected
vof-target: peer=10.40.1.1:qp18 ivqn=one target_id=0 queue=0 transport=rdma event=connected
vof-target: peer=10.40.1.1:qp19 ivqn=one target_id=0 queue=1 transport=rdma event=connected
vof-target: peer=10.40.1.1:qp21 ivqn=two target_id=1 queue=0 transport=rdma event=connected
"""
END = (
    "vof-target: peer=10.40.1.1:qp{0} target_id=0 queue=0 reads={0} writes=2 sends=3 probes=4 "
    "posts=5 receives=6 event=operations\n"
)


def test_virtqueues_are_added_up() -> None:
    log = CONNECTED + "".join(END.format(number) for number in (17, 18, 19, 21))
    assert of_target(log, "one") == {"reads": 18 + 19, "writes": 4, "sends": 6, "receives": 12}


def test_nothing_is_known_before_the_last_has_ended() -> None:
    assert of_target(CONNECTED + END.format(18), "one") is None
    assert of_target("", "one") is None
