# SPDX-License-Identifier: BSD-3-Clause
"""The checks that are broken, one at a time, to see that a test falls.

A mutant replaces one piece of text, which is once in its file. ``tests`` are the folders or files
that are meant to notice, the quickest first; a mutant that they let live is one too many.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change to one file."""

    name: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]


_WIRE = ("tests/unit/wire",)
_FABRIC = ("tests/unit/fabric", "tests/faults")
_NATIVE = ("tests/unit/engine", "tests/faults", "tests/conformance")
_TARGET = ("tests/unit/target", "tests/target")
_NBD = ("tests/unit/gateways", "tests/nbd")
_FUSE = ("tests/unit/gateways/fuse", "tests/fuse")

_STREAM = "gateway/vof/wire/stream.py"
_VQ = "gateway/vof/wire/vq.py"
_KEYED = "gateway/vof/wire/keyed_commands.py"
_CONNECT = "gateway/vof/wire/connect.py"

MUTANTS = (
    # wire
    Mutant(
        "completion: as many descriptors as the command has",
        _STREAM,
        "if count != len(self._buffers):",
        "if count > len(self._buffers):",
        _WIRE,
    ),
    Mutant(
        "completion: no descriptor twice",
        _STREAM,
        "or lengths[index] >= 0:",
        "or False:",
        _WIRE,
    ),
    Mutant(
        "completion: no more bytes than there is room for",
        _STREAM,
        "if length > len(buffers[index]):",
        "if length > len(buffers[index]) + 1:",
        _WIRE,
    ),
    Mutant(
        "vring: at most max_ndesc",
        _STREAM,
        "if not 0 < ndesc <= self._limits.max_ndesc:",
        "if not 0 < ndesc <= self._limits.max_ndesc + 1:",
        _WIRE,
    ),
    Mutant(
        "vring: at least one descriptor",
        _STREAM,
        "if not 0 < ndesc <= self._limits.max_ndesc:",
        "if not 0 <= ndesc <= self._limits.max_ndesc:",
        _WIRE,
    ),
    Mutant(
        "vring: at most max_transfer",
        _STREAM,
        "if total > self._limits.max_transfer:",
        "if total > 2 * self._limits.max_transfer:",
        _WIRE,
    ),
    Mutant(
        "vring: no length of zero",
        _STREAM,
        "if not all(desc.length for desc in descs):",
        "if not any(desc.length for desc in descs):",
        _WIRE,
    ),
    Mutant(
        "vring: no id twice",
        _STREAM,
        "if len({desc.id for desc in descs}) != len(descs):",
        "if len({desc.id for desc in descs}) > len(descs):",
        _WIRE,
    ),
    Mutant(
        "stream: a second Connect",
        _STREAM,
        "if command is Command.CONNECT:",
        "if command is Command.DISCONNECT:",
        _WIRE,
    ),
    Mutant(
        "vq: a completion returns no more than there is room for",
        _VQ,
        "if length > room:",
        "if length > room + 1:",
        _WIRE,
    ),
    Mutant(
        "vq: both lengths together",
        _VQ,
        "total = vq.out_length + vq.in_length",
        "total = max(vq.out_length, vq.in_length)",
        _WIRE,
    ),
    Mutant(
        "vq: a gap only where the tail came",
        _VQ,
        "gap = 0 < tail <= in_length < room == length",
        "gap = 0 <= tail <= in_length < room == length",
        _WIRE,
    ),
    Mutant(
        "keyed: at most max_transfer",
        _KEYED,
        "if total > limits.max_transfer:",
        "if total > limits.max_transfer + 1:",
        _WIRE,
    ),
    Mutant(
        "keyed: no buffer beyond the last address",
        _KEYED,
        "if item.addr + item.length > 1 << 64:",
        "if item.addr + item.length > 1 << 65:",
        _WIRE,
    ),
    Mutant(
        "keyed: every descriptor is",
        _KEYED,
        "if keyed and not all(item.flags & keyed for item in segments):",
        "if keyed and not any(item.flags & keyed for item in segments):",
        _WIRE,
    ),
    Mutant(
        "keyed: lengths add up to what the command says",
        _KEYED,
        "if found != said:",
        "if found < said:",
        _WIRE,
    ),
    Mutant(
        "keyed: nothing after the command",
        _KEYED,
        "    if rest:\n        raise",
        "    if False:\n        raise",
        _WIRE,
    ),
    Mutant(
        "connect: a body of 1024 bytes or none",
        _CONNECT,
        "if command.length not in {0, CONNECT_BODY_SIZE}:",
        "if command.length > CONNECT_BODY_SIZE:",
        _WIRE,
    ),
    Mutant(
        "connect: its descriptor is device-readable",
        _CONNECT,
        " or descriptor.flags & DescriptorFlag.WRITE:",
        ":",
        _WIRE,
    ),
    Mutant(
        "rng: no more than the device says it wrote",
        "gateway/vof/drivers/rng.py",
        "return min(arrival.lengths[0], arrival.used)",
        "return arrival.lengths[0]",
        ("tests/unit/drivers", "tests/faults"),
    ),
    Mutant(
        "rng: no device-readable bytes",
        "gateway/vof/wire/rng.py",
        "    if readable:",
        "    if readable > 1:",
        _WIRE,
    ),
    # fabric
    Mutant(
        "queue: a completion for what is not in flight",
        "gateway/vof/fabric/tcp/queue.py",
        "pending = self._in_flight.pop(command_id, None)",
        "pending = self._in_flight.get(command_id, None)",
        _FABRIC,
    ),
    Mutant(
        "queue: events only where they were agreed on",
        "gateway/vof/fabric/tcp/queue.py",
        "if self._takes_events and command_id in EVENTS:",
        "if command_id in EVENTS:",
        _FABRIC,
    ),
    Mutant(
        "room: no more descriptors than the queue holds",
        "gateway/vof/fabric/room.py",
        "while self._free < room or not self._commands:",
        "while not self._commands:",
        _FABRIC,
    ),
    Mutant(
        "room: no more commands than the queue holds",
        "gateway/vof/fabric/room.py",
        "while self._free < room or not self._commands:",
        "while self._free < room:",
        _FABRIC,
    ),
    Mutant(
        "eager: no buffer over another",
        "gateway/vof/fabric/rdma/eager.py",
        "one.addr + one.length > other.addr:",
        "one.addr + one.length > other.addr + 1:",
        _FABRIC,
    ),
    Mutant(
        "eager: no buffer of length zero",
        "gateway/vof/fabric/rdma/eager.py",
        "        if not item.length:",
        "        if False:",
        _FABRIC,
    ),
    Mutant(
        "extents: what comes back is joined to what is before it",
        "gateway/vof/fabric/rdma/extents.py",
        "if place and self._starts[place - 1] + self._lengths[place - 1] == start:",
        "if False:",
        _FABRIC,
    ),
    # initiator and drivers
    Mutant(
        "session: FEATURES_OK is read back",
        "gateway/vof/initiator/association.py",
        "if not control.get_status() & DeviceStatus.FEATURES_OK:",
        "if False:",
        ("tests/unit/initiator", "tests/unit/drivers", "tests/faults"),
    ),
    Mutant(
        "config: both generations are equal",
        "gateway/vof/initiator/config.py",
        "if len(generations - {None}) <= 1:",
        "if len(generations - {None}) <= 2:",
        ("tests/unit/initiator", "tests/unit/drivers", "tests/faults"),
    ),
    Mutant(
        "eager buffers: no more than were asked for",
        "gateway/vof/initiator/transports.py",
        "if completion.value > descs:",
        "if completion.value > descs + 1:",
        ("tests/unit/initiator",),
    ),
    Mutant(
        "block: a capacity that can be",
        "gateway/vof/drivers/block_geometry.py",
        "if capacity >= 1 << 63:",
        "if capacity > 1 << 64:",
        ("tests/unit/drivers", "tests/faults"),
    ),
    # native, the initiator's end
    Mutant(
        "native completion: as many descriptors as the command has",
        "gateway/native/initiator/completion_parser.c",
        "} else if (count != landing->count) {",
        "} else if (count > landing->count) {",
        _NATIVE,
    ),
    Mutant(
        "native completion: no more bytes than there is room for",
        "gateway/native/initiator/completion_parser.c",
        "    if (left)\n        return refuse",
        "    if (left > 1)\n        return refuse",
        _NATIVE,
    ),
    Mutant(
        "native completion: no more bytes than a descriptor has",
        "gateway/native/initiator/completion_parser.c",
        "if (desc.length > buffer->iov_len)",
        "if (desc.length > buffer->iov_len + 4096)",
        _NATIVE,
    ),
    Mutant(
        "native completion: only what is in flight",
        "gateway/native/initiator/completion_parser.c",
        "    if (length || !landing->completion.status)",
        "    if (length)",
        _NATIVE,
    ),
    # native, the target's end
    Mutant(
        "native command: at most max_ndesc",
        "gateway/native/target/stream/command_parser.c",
        "if (!ndesc || ndesc > rules->max_ndesc)",
        "if (!ndesc)",
        _TARGET,
    ),
    Mutant(
        "native command: at most max_transfer",
        "gateway/native/target/stream/command_parser.c",
        "if (total > rules->max_transfer)\n        return refuse(fault, VOF_TRANSFER_TOO_LARGE",
        "if (total > 2 * (uint64_t)rules->max_transfer)\n"
        "        return refuse(fault, VOF_TRANSFER_TOO_LARGE",
        _TARGET,
    ),
    Mutant(
        "native command: both lengths of a vq command",
        "gateway/native/target/stream/command_parser.c",
        "uint64_t total = (uint64_t)lengths.out + lengths.in;",
        "uint64_t total = lengths.out;",
        _TARGET,
    ),
    Mutant(
        "native command: no descriptor id twice",
        "gateway/native/target/stream/command_parser.c",
        "    if (twice)",
        "    if (twice && 0)",
        _TARGET,
    ),
    Mutant(
        "native command: a second Connect",
        "gateway/native/target/stream/command_parser.c",
        "if (opcode == VOF_OP_CONNECT)",
        "if (opcode == VOF_OP_CONNECT && 0)",
        _TARGET,
    ),
    Mutant(
        "native block: nothing beyond the end",
        "gateway/native/target/block/request.c",
        "length >> VOF_SECTOR_SHIFT <= sectors - sector;",
        "length >> VOF_SECTOR_SHIFT <= sectors - sector + 1;",
        _TARGET,
    ),
    Mutant(
        "native block: a read-only disk is not written",
        "gateway/native/target/block/request.c",
        "if (limits->readonly)",
        "if (0)",
        _TARGET,
    ),
    Mutant(
        "native block: unmap is reserved for a discard",
        "gateway/native/target/block/request.c",
        "if (vof_get32(p + 12) & ~known_flags) {",
        "if (vof_get32(p + 12) & ~known_flags & ~1u) {",
        _TARGET,
    ),
    Mutant(
        "native block: every range is looked at before one is touched",
        "gateway/native/target/block/request.c",
        "if (sectors > max_sectors ||",
        "if (i == 0 && sectors > max_sectors ||",
        _TARGET,
    ),
    # target
    Mutant(
        "block: nothing beyond the end",
        "gateway/vof/target/devices/block_request.py",
        "offset + length > self._served_size.end:",
        "offset + length > self._served_size.end + 512:",
        _TARGET,
    ),
    Mutant(
        "block: write-through is durable",
        "gateway/vof/target/devices/block_request.py",
        "self._backend.write(data, offset, persist=rules.persist)",
        "self._backend.write(data, offset, persist=False)",
        _TARGET,
    ),
    Mutant(
        "block: no more segments than were said",
        "gateway/vof/target/devices/block_request.py",
        "if rest or not 0 < count <= self._limits.max_segments:",
        "if rest or not 0 < count <= self._limits.max_segments + 1:",
        _TARGET,
    ),
    Mutant(
        "virtqueue: no command id that is in flight",
        "gateway/vof/target/tcp/virtqueue.py",
        "if command.command_id in self._in_flight:",
        "if False:",
        _TARGET,
    ),
    Mutant(
        "virtqueue: no more commands than it holds",
        "gateway/vof/target/tcp/virtqueue.py",
        "elif self._depth is not None and in_flight > self._depth:",
        "elif self._depth is not None and in_flight > self._depth + 1:",
        _TARGET,
    ),
    Mutant(
        "virtqueue: what is in flight is completed before a Disconnect",
        "gateway/vof/target/tcp/virtqueue.py",
        "            self._drain()  # what is in flight is completed before it",
        "            pass",
        _TARGET,
    ),
    Mutant(
        "features: not after they were agreed on",
        "gateway/vof/target/association.py",
        "if self.status & (DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK):",
        "if False:",
        _TARGET,
    ),
    Mutant(
        "features: FEATURES_OK only for what was offered",
        "gateway/vof/target/association.py",
        "elif self.driver_features & ~self.device.features:",
        "elif False:",
        _TARGET,
    ),
    Mutant(
        "config: nothing beyond its end",
        "gateway/vof/target/commands.py",
        "    if end > len(config):",
        "    if end > len(config) + 1:",
        _TARGET,
    ),
    Mutant(
        "queues: a size that is no more than the device's",
        "gateway/vof/target/commands.py",
        " or size > device.queue_size:",
        ":",
        _TARGET,
    ),
    Mutant(
        "admission: no more connections than the limit",
        "gateway/vof/target/admission.py",
        "if self.count() < limit:",
        "if self.count() <= limit:",
        _TARGET,
    ),
    # gateways
    Mutant(
        "disk: nothing beyond the end",
        "gateway/vof/gateways/disk.py",
        "or end > self.size:",
        "or end > self.size + 1:",
        _NBD,
    ),
    Mutant(
        "disk: beyond the end is ENOSPC for who writes",
        "gateway/vof/gateways/disk.py",
        "end = self._check(offset, len(view), errno.ENOSPC)",
        "end = self._check(offset, len(view), errno.EINVAL)",
        _NBD,
    ),
    Mutant(
        "disk: a part of a block keeps the rest of it",
        "gateway/vof/gateways/disk.py",
        "        if offset % block:\n            self._read_blocks(first, bounce[:block])",
        "        if False:\n            self._read_blocks(first, bounce[:block])",
        _NBD,
    ),
    Mutant(
        "disk: parts of blocks one at a time",
        "gateway/vof/gateways/disk.py",
        "        with self._gate.alone:",
        "        with self._gate.shared:",
        _NBD,
    ),
    Mutant(
        "nbd: zeroes are unmapped only where that is allowed",
        "gateway/vof/gateways/nbd/export.py",
        "unmap=may_trim)",
        "unmap=True)",
        _NBD,
    ),
    Mutant(
        "fuse: a lost session is EIO",
        "gateway/vof/gateways/fuse/errnos.py",
        "if isinstance(error, (SessionLost, CompletionError)):",
        "if isinstance(error, SessionLost):",
        _FUSE,
    ),
    Mutant(
        "fuse: nothing is written beyond the end",
        "gateway/vof/gateways/fuse/block.py",
        "if room <= 0 and data:",
        "if room < 0 and data:",
        _FUSE,
    ),
    Mutant(
        "fuse: ZERO_RANGE deallocates nothing",
        "gateway/vof/gateways/fuse/block.py",
        "unmap = mode == PUNCH_HOLE | KEEP_SIZE",
        "unmap = True",
        _FUSE,
    ),
    Mutant(
        "random: no byte before the start-up test is over",
        "gateway/vof/gateways/fuse/reservoir.py",
        "while self.started and self._pooled and self._readers:",
        "while self._pooled and self._readers:",
        _FUSE,
    ),
    Mutant(
        "random: no byte twice",
        "gateway/vof/gateways/fuse/reservoir.py",
        "                self._pool.appendleft(part[count:])",
        "                self._pool.appendleft(part)",
        _FUSE,
    ),
)
