# SPDX-License-Identifier: BSD-3-Clause
"""What the published texts say, passage by passage, and which end has to keep to it.

The texts are messages of the mailing list virtio-comment; lines are those of the archived pages, as
they stand in our collection of sources, by whose numbers the texts are called here:

- 000: "[PATCH v2 06/11] transport-fabrics: introduce command set", 4 May 2023 (*v2*)
- 002: "[PATCH v5 7/7] transport-fabrics: introduce keyed eager buffers" (*v5*)
- 003: "[PROPOSAL] Virtio Over Fabrics(TCP/RDMA)", 23 April 2023 (*proposal*)

A test says which passage it tests, and of which end: ``@pytest.mark.clause("000:50", "target")``.
Passages follow one another without a gap, so that none is forgotten; those that ask nothing of
anybody have no ends. ``tests/meta/test_clauses.py`` looks for passages without a test.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIATOR, TARGET = "initiator", "target"


@dataclass(frozen=True)
class Passage:
    """Lines of a text."""

    text: str
    first: int
    last: int
    says: str
    """In our words, in short."""
    ends: tuple[str, ...]

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.text}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")


_BOTH = (INITIATOR, TARGET)
_I, _T = (INITIATOR,), (TARGET,)
_NOBODY: tuple[str, ...] = ()

_V2 = [
    (30, 32, "heading", _NOBODY),
    (33, 41, "a value has 8 bytes and is a u8, le16, le32 or le64", _BOTH),
    (42, 43, "heading", _NOBODY),
    (44, 46, "every command and completion has a command id, le16", _BOTH),
    (47, 49, "the initiator chooses it, the completion has the same", _BOTH),
    (50, 50, "the ids of commands in flight differ", _BOTH),
    (51, 53, "ids from 0xff00 are for events on the control queue", _BOTH),
    (54, 59, "heading of a table", _NOBODY),
    (60, 61, "0xffff, keepalive: to be ignored", _I),
    (62, 63, "0xfffe: the config has changed", _BOTH),
    (64, 65, "0xff00 to 0xfffd are reserved", _BOTH),
    (66, 68, "heading", _NOBODY),
    (69, 72, "the control queue is connected first; that makes the association", _BOTH),
    (73, 74, "the target id 0xffff is reserved", _T),
    (75, 76, "0xffff is the target id in the Connect of a control queue", _BOTH),
    (77, 78, "the target chooses a target id and returns it", _BOTH),
    (79, 82, "a virtqueue's Connect has that target id, and the queue's number", _BOTH),
    (83, 98, "the layout of a Connect; oftype 1 is TCP, 2 is RDMA", _BOTH),
    (99, 102, "a Connect has one segment descriptor and one body", _BOTH),
    (103, 110, "the layout of the body: two names of 256 bytes, 512 of padding", _BOTH),
    (111, 114, "features are got and set on the control queue", _BOTH),
    (115, 116, "there are features of the transport", _BOTH),
    (117, 120, "there are features of the device", _BOTH),
    (121, 127, "the layout of a feature command", _BOTH),
    (128, 130, "its value is not looked at on get", _T),
    (131, 136, "a queue's properties are got and set on the control queue", _BOTH),
    (137, 143, "the layout of a queue command", _BOTH),
    (144, 150, "its value is not looked at on get", _T),
    (151, 153, "the config space is got and set on the control queue", _BOTH),
    (154, 160, "the layout of a config command", _BOTH),
    (161, 164, "its value is not looked at on get", _T),
    (165, 173, "get reads 1, 2, 4 or 8 bytes, a number of that width", _BOTH),
    (174, 182, "set writes 1, 2, 4 or 8 bytes, a number of that width", _BOTH),
    (183, 187, "common properties are got and set on the control queue", _BOTH),
    (188, 195, "the layout of a common command", _BOTH),
    (196, 202, "its value is not looked at on get", _T),
    (203, 208, "buffers are described in the same way on both kinds of queue", _BOTH),
    (209, 211, "a vring command's length is that of its buffers", _BOTH),
    (212, 219, "its ndesc is the number of its descriptors", _BOTH),
    (220, 226, "every command is answered by a completion, which has a status", _BOTH),
    (227, 234, "a completion's ndesc is the number of its descriptors", _BOTH),
    (235, 237, "who waits for a completion is told of it", _I),
]

_V5 = [
    (26, 29, "heading", _NOBODY),
    (30, 40, "the numbers of the opcodes", _BOTH),
    (41, 43, "transport feature bit 0: get_keyed_num_descs", _BOTH),
    (44, 45, "transport feature bit 1: get_keyed_eager_buf", _BOTH),
    (46, 53, "heading", _NOBODY),
    (54, 54, "a virtqueue has any number of eager buffers, none among them", _BOTH),
    (55, 55, "what they are good for", _NOBODY),
    (56, 58, "get_keyed_eager_buf is sent on the control queue", _BOTH),
    (59, 67, "its layout", _BOTH),
    (68, 73, "descs is the most descriptors to be returned", _BOTH),
    (74, 75, "its body: the descriptors, one behind the other", _BOTH),
    (76, 86, "its completion: how many there are", _BOTH),
    (87, 96, "the buffers follow one another in a range that an offset is of", _BOTH),
    (97, 99, "the readable bytes are written there before the command is sent", _BOTH),
    (100, 101, "vq_keyed_eager_buf is sent on virtqueues only", _BOTH),
    (102, 116, "its layout", _BOTH),
    (117, 128, "its completion: how many bytes came back", _BOTH),
    (129, 131, "vq is sent on virtqueues only", _BOTH),
]

_PROPOSAL = [
    (31, 32, "heading", _NOBODY),
    (33, 44, "a write over TCP: command, descriptors and bytes in one stream", _BOTH),
    (45, 93, "a descriptor for each buffer; the last alone has no NEXT", _BOTH),
    (94, 106, "its completion: the writable descriptors and their bytes", _BOTH),
    (107, 120, "a returned descriptor says where its bytes are, with the id and flags", _BOTH),
    (121, 134, "a read over TCP: the readable bytes alone follow", _BOTH),
    (135, 178, "writable buffers have WRITE, and NEXT but for the last", _BOTH),
    (179, 191, "its completion: all writable descriptors, and the sum of their bytes", _BOTH),
    (192, 229, "the bytes come in the order of the descriptors", _BOTH),
    (230, 231, "heading", _NOBODY),
    (232, 244, "over RDMA, command and descriptors are one SEND", _BOTH),
    (245, 292, "a descriptor has its buffer's address and key", _BOTH),
    (293, 295, "the target reads, writes and answers by RDMA READ, WRITE and SEND", _BOTH),
    (296, 307, "its completion has no descriptors; the value is what was written", _BOTH),
    (308, 312, "a read over RDMA", _BOTH),
]

PASSAGES = [
    Passage(text, *fields)
    for text, passages in (("000", _V2), ("002", _V5), ("003", _PROPOSAL))
    for fields in passages
]
