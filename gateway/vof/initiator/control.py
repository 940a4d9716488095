# SPDX-License-Identifier: BSD-3-Clause
"""The control queue: one command at a time, each a method named as the specification names it.

Implements *v2* "Commands Definition" with the numbers of the association's dialect. Control
commands may be sent on a virtqueue's connection as well, so the same class serves there for its
Connect. Must not know the order in which a device is initialised: that is ``session``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from vof.errors import CompletionError, RemoteProtocolError
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.fabric.rdma import RdmaQueue
from vof.wire.constants import (
    CONFIG_WIDTHS,
    CONTROL_QUEUE_TARGET_ID,
    DeviceStatus,
    LaterOpcode,
    Opcode,
    Transport,
)
from vof.wire.dialect import FEATURE_SELECT_BITS, FEATURE_SELECT_MAX_SEGS, Dialect
from vof.wire.keyed import KeyedDescriptor
from vof.wire.names import encode_name
from vof.wire.structs import (
    CommonCommand,
    Completion,
    ConfigCommand,
    ConnectBody,
    ConnectCommand,
    FeatureCommand,
    QueueCommand,
    pack,
)

_COMMAND_ID = 0
"""The lowest id: some targets answer every command with it. One command is in flight at a time."""

_U8 = 0xFF
_U16 = 0xFFFF
_U32 = 0xFFFF_FFFF


class ControlQueue:
    """The control commands over one fabric queue.

    Every method raises CompletionError if the target refuses the command, and SessionLost if the
    connection ends (which includes the fabric queue's timeout).
    """

    def __init__(self, fabric: Queue, dialect: Dialect, transport: Transport) -> None:
        self._fabric = fabric
        self._dialect = dialect
        self._transport = transport
        self.after_command: Callable[[], None] = lambda: None
        """Called after every command, whose wait may have received an event along with it."""
        self._one_at_a_time = Lock()

    def connect(self, ivqn: str, tvqn: str) -> int:
        """Connect as control queue; return the target id that was allocated."""
        return self._connect(CONTROL_QUEUE_TARGET_ID, 0, ivqn, tvqn).value & _U16

    def connect_virtqueue(self, target_id: int, index: int, ivqn: str, tvqn: str) -> None:
        """Connect as virtqueue ``index`` of the association ``target_id``."""
        self._connect(target_id, index, ivqn, tvqn)

    def disconnect(self) -> None:
        """End the association in good order."""
        self._common(Opcode.DISCONNECT)

    def keepalive(self) -> None:
        """Ask for a sign of life."""
        self._common(Opcode.KEEPALIVE)

    def get_vendor_id(self) -> int:
        return self._common(Opcode.GET_VENDOR_ID) & _U32

    def get_device_id(self) -> int:
        return self._common(Opcode.GET_DEVICE_ID) & _U32

    def get_generation(self) -> int:
        return self._common(Opcode.GET_GENERATION) & _U32

    def get_status(self) -> DeviceStatus:
        return DeviceStatus(self._common(Opcode.GET_STATUS) & 0xFF)

    def set_status(self, status: DeviceStatus) -> None:
        """Write the device status; 0 resets the device."""
        command = self._dialect.encode_set_status(_COMMAND_ID, int(status))
        self._execute(Opcode.SET_STATUS.name, command)

    def get_config_changed(self) -> int:
        return self._common(Opcode.GET_CONFIG_CHANGED) & _U32

    def get_num_queues(self) -> int:
        return self._common(Opcode.GET_NUM_QUEUES) & _U16

    def get_device_feature(self) -> int:
        """Return the 64 feature bits the device offers."""
        return self._feature(Opcode.GET_DEVICE_FEATURE).value

    def set_driver_feature(self, features: int) -> None:
        self._feature(Opcode.SET_DRIVER_FEATURE, features)

    def get_max_segs(self) -> int:
        """Return the largest ndesc of one vring command (the *proposal*'s transport feature 0)."""
        select = FEATURE_SELECT_MAX_SEGS
        return self._feature(self._dialect.get_feature, select=select).value & _U32

    def get_transport_features(self) -> int:
        """Return the transport feature bits on offer, in a dialect that has them
        (``wire.constants.TransportFeature``)."""
        select = FEATURE_SELECT_BITS
        return self._feature(self._dialect.get_feature, select=select).value

    def set_transport_features(self, features: int) -> None:
        """Put transport features in force, some of those on offer."""
        self._feature(self._dialect.set_feature, features, FEATURE_SELECT_BITS)

    def get_queue_size(self, index: int) -> int:
        command = QueueCommand(Opcode.GET_QUEUE_SIZE, _COMMAND_ID, index)
        return self._execute(Opcode.GET_QUEUE_SIZE.name, pack(command)).value & _U16

    def set_queue_size(self, index: int, size: int) -> None:
        """Let a virtqueue that is not connected yet hold ``size`` descriptors, a power of two."""
        command = QueueCommand(Opcode.SET_QUEUE_SIZE, _COMMAND_ID, index, value=size)
        self._execute(Opcode.SET_QUEUE_SIZE.name, pack(command))

    def get_config(self, offset: int, width: int) -> int:
        """Read ``width`` (1, 2, 4 or 8) bytes of the config space as a little-endian number."""
        assert width in CONFIG_WIDTHS
        command = ConfigCommand(Opcode.GET_CONFIG, _COMMAND_ID, offset, width)
        value = self._execute(Opcode.GET_CONFIG.name, pack(command)).value
        return value & ((1 << 8 * width) - 1)

    def set_config(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` (1, 2, 4 or 8) bytes of the config space."""
        assert width in CONFIG_WIDTHS
        command = ConfigCommand(Opcode.SET_CONFIG, _COMMAND_ID, offset, width, value=value)
        self._execute(Opcode.SET_CONFIG.name, pack(command))

    def get_keyed_num_descs(self, index: int) -> int:
        """Return the most keyed descriptors of each direction that a virtqueue takes."""
        opcode = LaterOpcode.GET_KEYED_NUM_DESCS
        command = QueueCommand(opcode, _COMMAND_ID, index)
        return self._execute(opcode.name, pack(command)).value & _U16

    def get_keyed_eager_buf(self, index: int, descs: int) -> list[KeyedDescriptor]:
        """Return the first ``descs`` eager buffers of a virtqueue, over RDMA.

        Raises RemoteProtocolError if there are more than were asked for.
        """
        fabric = self._fabric
        assert isinstance(fabric, RdmaQueue)
        what = LaterOpcode.GET_KEYED_EAGER_BUF.name.lower()
        buffers: list[KeyedDescriptor] = []

        def take(pending: Pending, completion: Completion) -> None:
            count = completion.ndesc & _U8
            if count > descs:
                raise RemoteProtocolError(f"{what} returns {count} buffers of at most {descs}")
            buffers.extend(fabric.eager_buffers(pending, count))

        self._run(lambda: fabric.prepare_get_keyed_eager_buf(what, _COMMAND_ID, index, descs), take)
        return buffers

    def _connect(self, target_id: int, index: int, ivqn: str, tvqn: str) -> Completion:
        oftype = self._dialect.oftype(self._transport)
        command = ConnectCommand(Opcode.CONNECT, _COMMAND_ID, target_id, index, 1, oftype)
        body = ConnectBody(encode_name(ivqn), encode_name(tvqn))
        return self._run(lambda: self._fabric.prepare_connect("connect", command, body))

    def _common(self, opcode: Opcode) -> int:
        return self._execute(opcode.name, pack(CommonCommand(opcode, _COMMAND_ID))).value

    def _feature(self, opcode: int, value: int = 0, select: int = 0) -> Completion:
        name = {
            self._dialect.get_feature: "GET_FEATURE",
            self._dialect.set_feature: "SET_FEATURE",
        }.get(opcode) or Opcode(opcode).name
        return self._execute(name, pack(FeatureCommand(opcode, _COMMAND_ID, select, value)))

    def _execute(self, what: str, command: bytes) -> Completion:
        what = what.lower()
        return self._run(lambda: self._fabric.prepare_control(what, command))

    def _run(
        self,
        prepare: Callable[[], Pending],
        take: Callable[[Pending, Completion], None] = lambda _pending, _completion: None,
    ) -> Completion:
        """Send what ``prepare`` forms; ``take`` what came with a completion that is no refusal."""
        with self._one_at_a_time:
            pending = prepare()
            self._fabric.submit(pending)
            completion = self._fabric.wait(pending).completion
            if not completion.status:
                take(pending, completion)
        self.after_command()
        if completion.status:
            raise CompletionError(pending.what, completion.status)
        return completion
