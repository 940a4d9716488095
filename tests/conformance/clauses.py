# SPDX-License-Identifier: BSD-3-Clause
"""What the published texts say, passage by passage, and which end has to keep to it.

- proposal: "[PROPOSAL] Virtio Over Fabrics(TCP/RDMA)", 23 April 2023
- v2: "[PATCH v2 06/11] transport-fabrics: introduce command set", 4 May 2023; and for what is not
  in it the text of its author's branch of the days before
- v5: the whole text of October 2023, of which "[PATCH v5 7/7] transport-fabrics: introduce keyed
  eager buffers" is the last part

The messages are those of the mailing list virtio-comment. Passages of the first two go by the lines
of the archived page; they follow one another without a gap, so that none is forgotten, and those
that ask nothing of anybody have no ends. The author's branch and v5 go by section, and within one
by sentence.

A test says which passage it tests, and of which end: ``@pytest.mark.clause("v2:50", "target")``,
``@pytest.mark.clause("v5 Connect 3", "target")``. ``tests/meta/test_clauses.py`` looks for passages
without a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

INITIATOR, TARGET = "initiator", "target"


@dataclass(frozen=True)
class Passage:
    """What a text says in one place."""

    name: str
    """What a test calls it."""
    says: str
    """In our words, in short."""
    ends: tuple[str, ...]


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

_V2_BRANCH: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]] = {
    "Segment Descriptor Definition": [
        ("ids are unique within a command, and count from 0 in the examples", _BOTH),
        ("KEYED says that the buffer is named by key, else it is on the stream", _BOTH),
        ("WRITE says that it is device-writable", _BOTH),
        ("a stream has no keyed descriptors, and looks at no key", _BOTH),
    ],
    "Keyed Transmission": [
        ("a message is the command with its descriptors; a completion has none", _BOTH),
        ("stream descriptors may be among them, up to the stream size of the other end", _BOTH),
    ],
    "Opcodes Definition": [
        ("the numbers of the opcodes", _BOTH),
        ("get_feature 0 is the most segments of a vring command", _BOTH),
        ("get_feature 1 is the stream size", _T),
        ("a device's features are selected 64 at a time", _BOTH),
    ],
    "Status Definition": [
        ("a status is an errno, or 4096", _BOTH),
    ],
    "Device Initialization": [
        ("the control queue is connected first, and then asked what the device is", _I),
        ("the virtqueues that there are, by get_num_queues, are connected one by one", _I),
    ],
}

_V5: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]] = {
    "Overview": [
        ("each queue has a connection of its own", _BOTH),
        ("there is one control queue to a device instance, which takes control commands", _BOTH),
        ("any number of initiators may be connected to a target", _T),
    ],
    "Qualified Name": [
        ("a name is UTF-8, ends with NUL and has 256 bytes at most with it", _BOTH),
        ("there is no rule for what stands in it", _BOTH),
    ],
    "Stream Transmission": [
        ("a command is followed by its data, a completion by its own; no descriptors", _BOTH),
        ("the data of a vq are its device-readable bytes in order", _BOTH),
        ("those of its completion fill the device-writable buffers from the start", _BOTH),
    ],
    "Keyed Transmission": [
        ("a message is a command and its keyed descriptors; a completion stands alone", _BOTH),
        ("a keyed descriptor: address, length and key", _BOTH),
        ("a command of the control queue has one at most", _BOTH),
        ("one of a virtqueue has one, unless more are taken", _BOTH),
        ("they cover the device-readable bytes and then the device-writable ones", _BOTH),
        ("the target reads and writes by key, and both ends send", _BOTH),
    ],
    "Commands": [
        ("a command begins with its opcode and id, a completion with status and id", _BOTH),
        ("reserved bytes are sent as zeros and not looked at", _BOTH),
        ("the numbers of the opcodes", _BOTH),
    ],
    "Command ID": [
        ("the initiator chooses it, unique among its commands in flight", _BOTH),
        ("ids from 0xff00 are not for commands", _BOTH),
        ("0xfffe: the config has changed, to the generation that it says", _BOTH),
        ("one of these at most is outstanding until the next get_config", _BOTH),
        ("0xffff, keepalive: to be ignored", _I),
    ],
    "Connect": [
        ("comes first on every queue", _BOTH),
        ("the control queue's has instance id 0xffff and the body", _BOTH),
        ("its completion names the device instance", _BOTH),
        ("a virtqueue's has that instance, and its index", _BOTH),
        ("a virtqueue's may leave the body out, and says a length of 0", _BOTH),
        ("the body: two names of 256 bytes, 512 reserved", _BOTH),
        ("queue_size 0 is the largest; a smaller one may be asked for", _BOTH),
        ("a larger one is refused", _T),
        ("the control queue has 32 commands in flight at most", _BOTH),
        ("one command more than a queue holds is refused", _BOTH),
    ],
    "Disconnect": [
        ("is answered when every command in flight is completed", _BOTH),
        ("virtqueues are disconnected before the control queue", _I),
        ("with the control queue ends the device instance and all it holds", _T),
        ("without one, nobody knows whether commands in flight were executed", _I),
    ],
    "Keepalive": [
        ("is sent on the control queue, and answered while there is a device instance", _BOTH),
        ("where it is gone the initiator drops every queue", _I),
        ("where the initiator is gone the target destroys the instance", _T),
    ],
    "Get Feature": [
        ("its layout; feature_select n is bits 64n to 64n + 63", _BOTH),
        ("bit 0: get_keyed_num_descs; bit 1: get_keyed_eager_buf", _BOTH),
        ("is asked right behind the control queue's Connect, and allowed later", _BOTH),
    ],
    "Set Feature": [
        ("its layout", _BOTH),
        ("a feature that is not supported is refused", _T),
    ],
    "Get Keyed Number of Descriptors": [
        ("its layout: one number for the whole device", _BOTH),
    ],
    "Get Keyed Eager Buffers": [
        ("a virtqueue has any number of them, none among them", _BOTH),
        ("is sent on the control queue", _BOTH),
        ("its layout; descs is the most that are wanted", _BOTH),
        ("its body: the descriptors, one behind the other", _BOTH),
        ("its completion: how many there are", _BOTH),
        ("the buffers follow one another in a range that an offset is of", _BOTH),
    ],
    "VQ Keyed Eager Buffers": [
        ("the readable bytes are written there before the command is sent", _BOTH),
        ("is sent on virtqueues only", _BOTH),
        ("its layout", _BOTH),
        ("its completion: how many bytes came back", _BOTH),
    ],
    "VQ": [
        ("is sent on virtqueues only", _BOTH),
        ("its layout", _BOTH),
        ("its completion: how many bytes were written, at most those there is room for", _BOTH),
    ],
    "Get Vendor ID": [("its completion: le32", _BOTH)],
    "Get Device ID": [("its completion: le32", _BOTH)],
    "Reset Device": [("resets the device", _BOTH)],
    "Get Status": [("its completion: le32, the virtio device status", _BOTH)],
    "Set Status": [
        ("its layout", _BOTH),
        ("a status that is not supported is refused", _T),
    ],
    "Get Device Feature": [("its layout; feature_select as in get_feature", _BOTH)],
    "Set Driver Feature": [
        ("its layout", _BOTH),
        ("a feature that is not supported is refused", _T),
    ],
    "Get Virtqueue Size": [
        ("its layout", _BOTH),
        ("an index too large is refused, and tells how many virtqueues there are", _BOTH),
    ],
    "Get Config": [
        ("its layout; 1, 2, 4 or 8 bytes", _BOTH),
        ("its completion has the generation of what was read", _BOTH),
        ("another width is refused, and what is beyond the config space", _T),
    ],
    "Set Config": [
        ("its layout; 1, 2, 4 or 8 bytes", _BOTH),
        ("another width is refused, and what is beyond the config space", _T),
    ],
    "Status": [
        ("a command that is unknown or disabled is refused, and the queue goes on", _BOTH),
        (
            "why a Connect is refused: no such target, no instance, a bad id or name, no such"
            " queue, one in use",
            _T,
        ),
        ("each number has its meaning to whoever gets it", _I),
    ],
    "Transport Binding": [
        ("TCP over IPv4 and IPv6", _BOTH),
        ("the default port is 8549", _NOBODY),
        ("TLS", _NOBODY),
    ],
}


def _by_line(text: str, passages: Sequence[tuple[int, int, str, tuple[str, ...]]]) -> list[Passage]:
    named = []
    for first, last, says, ends in passages:
        place = f"{first}-{last}" if last > first else f"{first}"
        named.append(Passage(f"{text}:{place}", says, ends))
    return named


def _by_section(
    text: str, sections: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
) -> Iterator[Passage]:
    for section, sentences in sections.items():
        for number, (says, ends) in enumerate(sentences, 1):
            yield Passage(f"{text} {section} {number}", says, ends)


LINES = {"v2": _V2, "proposal": _PROPOSAL}

PASSAGES = [
    *(passage for text, passages in LINES.items() for passage in _by_line(text, passages)),
    *_by_section("v2", _V2_BRANCH),
    *_by_section("v5", _V5),
]
