# SPDX-License-Identifier: BSD-3-Clause
"""The control queue: one command at a time, each a method named as the specification names it.

Implements *v5* and *v2* "Commands Definition" with the numbers and records of the association's
dialect; where a revision has another command for the same thing, it is one method here. A Connect,
and a Disconnect, are sent on a virtqueue's connection as well, so the same class serves there. Must
not know the order in which a device is initialised: that is ``session``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from vof.fabric.deadline import Deadline
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.wire.connect import Connect, Names
from vof.wire.constants import (
    CONFIG_WIDTHS,
    CONTROL_QUEUE_TARGET_ID,
    Command,
    DeviceStatus,
)
from vof.wire.dialect import FEATURE_SELECT_BITS, FEATURE_SELECT_MAX_SEGS, Dialect
from vof.wire.structs import Completion

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

    def __init__(self, fabric: Queue, dialect: Dialect, deadline: Deadline | None = None) -> None:
        self.fabric = fabric
        self._dialect = dialect
        self.deadline = deadline
        """Bounds every command together, while the session is being opened."""
        self.after_command: Callable[[], None] = lambda: None
        """Called after every command, whose wait may have received an event along with it."""
        self._one_at_a_time = Lock()

    def connect(self, names: Names) -> int:
        """Connect as control queue; return the target id that was allocated."""
        connect = Connect(self._dialect, _COMMAND_ID, CONTROL_QUEUE_TARGET_ID, 0)
        return int(self._connect(connect, names).value) & _U16

    def connect_virtqueue(
        self, target_id: int, index: int, names: Names, queue_size: int = 0
    ) -> None:
        """Connect as virtqueue ``index`` of the association ``target_id``.

        ``queue_size`` is how many commands it is to hold, 0 for the most it can, where a Connect
        says that.
        """
        # In v5 the names of the control queue's Connect stand, and the body is left out.
        has_body = self._dialect.oftypes is not None
        connect = Connect(self._dialect, _COMMAND_ID, target_id, index, has_body, queue_size)
        self._connect(connect, names)

    def disconnect(self) -> None:
        """End the connection in good order; of a control queue the association with it."""
        self._execute(Command.DISCONNECT)

    def keepalive(self) -> None:
        """Ask for a sign of life."""
        self._execute(Command.KEEPALIVE)

    def get_vendor_id(self) -> int:
        return int(self._execute(Command.GET_VENDOR_ID).value) & _U32

    def get_device_id(self) -> int:
        return int(self._execute(Command.GET_DEVICE_ID).value) & _U32

    def get_generation(self) -> int:
        return int(self._execute(Command.GET_GENERATION).value) & _U32

    def get_status(self) -> DeviceStatus:
        return DeviceStatus(self._execute(Command.GET_STATUS).value & 0xFF)

    def set_status(self, status: DeviceStatus) -> None:
        """Write the device status, which is not 0."""
        self._execute(Command.SET_STATUS, value=int(status))

    def reset_device(self) -> None:
        """Reset the device, by the command there is for it or by a status of 0."""
        if self._dialect.has(Command.RESET_DEVICE):
            self._execute(Command.RESET_DEVICE)
        else:
            self._execute(Command.SET_STATUS, value=0)

    def get_config_changed(self) -> int:
        return int(self._execute(Command.GET_CONFIG_CHANGED).value) & _U32

    def get_num_queues(self) -> int:
        return int(self._execute(Command.GET_NUM_QUEUES).value) & _U16

    def get_device_feature(self) -> int:
        """Return the first 64 feature bits the device offers."""
        return int(self._execute(Command.GET_DEVICE_FEATURE, feature_select=0).value)

    def set_driver_feature(self, features: int) -> None:
        self._execute(Command.SET_DRIVER_FEATURE, feature_select=0, value=features)

    def get_max_segs(self) -> int:
        """Return the largest ndesc of one vring command."""
        select = FEATURE_SELECT_MAX_SEGS
        return int(self._execute(Command.GET_FEATURE, feature_select=select).value) & _U32

    def get_transport_features(self) -> int:
        """Return the transport feature bits on offer (``wire.constants.TransportFeature``)."""
        select = FEATURE_SELECT_BITS
        return int(self._execute(Command.GET_FEATURE, feature_select=select).value)

    def set_transport_features(self, features: int) -> None:
        """Put transport features in force, some of those on offer."""
        self._execute(Command.SET_FEATURE, feature_select=FEATURE_SELECT_BITS, value=features)

    def get_queue_size(self, index: int) -> int:
        """Return the size of a virtqueue (get_vq_size in *v5*)."""
        command = Command.GET_QUEUE_SIZE
        if not self._dialect.has(command):
            command = Command.GET_VQ_SIZE
        return int(self._execute(command, queue_id=index).value) & _U16

    def set_queue_size(self, index: int, size: int) -> None:
        """Let a virtqueue that is not connected yet hold ``size`` descriptors, a power of two."""
        self._execute(Command.SET_QUEUE_SIZE, queue_id=index, value=size)

    def get_config(self, offset: int, width: int) -> int:
        """Read ``width`` (1, 2, 4 or 8) bytes of the config space as a little-endian number."""
        return self.get_config_with_generation(offset, width)[0]

    def get_config_with_generation(self, offset: int, width: int) -> tuple[int, int | None]:
        """As ``get_config``; also return the generation of what was read, None where the
        completion does not tell."""
        assert width in CONFIG_WIDTHS
        completion = self._execute(Command.GET_CONFIG, offset=offset, width=width)
        value = completion.value & ((1 << 8 * width) - 1)
        return value, getattr(completion, "generation", None)

    def set_config(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` (1, 2, 4 or 8) bytes of the config space."""
        assert width in CONFIG_WIDTHS
        self._execute(Command.SET_CONFIG, offset=offset, width=width, value=value)

    @property
    def tells_generation(self) -> bool:
        """True where each get_config says the generation itself."""
        return not self._dialect.has(Command.GET_GENERATION)

    def get_keyed_num_descs(self) -> int:
        """Return the most keyed descriptors that a command takes."""
        return int(self._execute(Command.GET_KEYED_NUM_DESCS).value)

    def _connect(self, connect: Connect, names: Names) -> Any:
        command = Command.CONNECT
        return self.run(
            command, lambda _id: self.fabric.prepare_connect(command.value, connect, names)
        )

    def _execute(self, command: Command, **fields: int) -> Any:
        def prepare(command_id: int) -> Pending:
            data = self._dialect.encode(command, command_id, **fields)
            return self.fabric.prepare_control(command.value, data)

        return self.run(command, prepare)

    def run(
        self,
        command: Command,
        prepare: Callable[[int], Pending],
        take: Callable[[Pending, Any], None] = lambda _pending, _completion: None,
    ) -> Any:
        """Send what ``prepare`` forms with a command id, and return its completion; ``take`` what
        came with one that is no refusal."""
        with self._one_at_a_time:
            if self.deadline is not None:
                self.fabric.set_timeout(self.deadline.left())
            pending = prepare(_COMMAND_ID)
            self.fabric.submit(pending)
            arrived: Completion = self.fabric.wait(pending).completion
            completion = self._dialect.decode_completion(command, arrived)
            if not arrived.status:
                take(pending, completion)
        self.after_command()
        if arrived.status:
            raise self._dialect.refused(pending.what, arrived.status)
        return completion
