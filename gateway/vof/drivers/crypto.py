# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-crypto driver (virtio 1.2 §5.9): sessions, and operations in them or without one.

Owns feature negotiation, the reading and checking of the config space, the control queue (the
last) and the spreading of operations over the data queues. Nothing is sent that the device does not
offer or that is beyond its limits, and the length of every answer is compared with what was asked
for. Requests may be made from threads or from trio tasks.

Keys pass through in the caller's buffers: none is kept, copied or named in a message. Must not know
names of algorithms, formats of keys, nor how anything is encrypted.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from threading import Lock

from vof.drivers.crypto_errors import UNWRITTEN, device_error
from vof.drivers.crypto_slots import Slots
from vof.drivers.registry import check_type, drives
from vof.errors import (
    ConnectError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
)
from vof.fabric.pending import Pending
from vof.initiator.config import read_config
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.initiator.virtqueue import Virtqueue
from vof.wire.constants import DeviceId
from vof.wire.crypto import (
    STATELESS_MODE,
    Config,
    DataOpcode,
    DeviceStatus,
    Feature,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import Parameters
from vof.wire.crypto_requests import STATUS_SIZE, data_request
from vof.wire.crypto_sessions import (
    WireRequest,
    create_session_request,
    destroy_session_request,
    read_session_answer,
)
from vof.wire.layout import layout_of
from vof.wire.stream import Arrival

WANTED = (
    Feature.REVISION_1
    | Feature.CIPHER_STATELESS_MODE
    | Feature.HASH_STATELESS_MODE
    | Feature.MAC_STATELESS_MODE
    | Feature.AEAD_STATELESS_MODE
    | Feature.AKCIPHER_STATELESS_MODE
)

DEFAULT_QUEUES = 4
"""Data queues opened at most, unless asked for more."""

MAX_SIZE = 32 << 20
"""Bytes of the largest request we make, whatever a device allows."""

MAX_DESCRIPTORS = 7
"""Of one request: head, key, IV, source, additional data; result, status."""

_LEAST = {
    DataOpcode.AKCIPHER_ENCRYPT: 1,
    DataOpcode.AKCIPHER_DECRYPT: 0,
    DataOpcode.AKCIPHER_SIGN: 1,
}
"""Bytes of a result that may be shorter than its room. What was encrypted may have been nothing."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A request that the device has."""

    what: str
    slots: Slots
    queue: Virtqueue
    pending: Pending
    buffers: tuple[bytearray, ...] = field(repr=False)
    """Device-writable; the last one ends with the status, or holds an answer that has one."""


@drives(DeviceId.CRYPTO, "virtio-crypto", layout_of(Config))
class CryptoDriver:
    """A virtio-crypto device ready for requests. Made by ``open``; closes its session.

    Each request has two methods: one for threads, which waits where the queues are full, and one
    for trio tasks, which keep to ``depth`` and ``control_depth`` themselves.
    """

    def __init__(
        self, session: Session, features: Feature, config: Config, data: Slots, control: Slots
    ) -> None:
        self.session = session
        self.features = features
        self.config = config
        self.max_size = min(config.max_size or MAX_SIZE, MAX_SIZE)
        """Bytes of all variable-length parts of an operation."""
        self._data = data
        self._control = control
        self._mutex = Lock()
        self._sessions: set[int] = set()

    @classmethod
    def open(cls, parameters: SessionParameters, queues: int = DEFAULT_QUEUES) -> CryptoDriver:
        """Open a session and initialise the device, with at most ``queues`` data queues.

        Raises ConnectError, and as ``attach``.
        """
        return cls.attach(Session.open(parameters), queues)

    @classmethod
    def attach(cls, session: Session, queues: int = DEFAULT_QUEUES) -> CryptoDriver:
        """Initialise the device of a session, which is closed if that fails.

        Raises WrongDevice if the device is no virtio-crypto, ConnectError (EAGAIN) if it is not
        ready, RemoteProtocolError if what it says of itself cannot be, and what a session raises.
        """
        try:
            check_type(session, DeviceId.CRYPTO)
            features = Feature(session.negotiate(WANTED) & WANTED)
            config = _read_config(session)
            control_index = config.max_dataqueues
            count = min(queues, control_index)
            *data, control = session.open_virtqueues(count, control_index)
            session.driver_ok()
            _check_ready(session)
        except BaseException:
            session.close()
            raise
        most = 1 if session.quirks.answers_with_id_0 else None
        return cls(
            session,
            features,
            config,
            Slots(data, MAX_DESCRIPTORS, most),
            Slots([control], MAX_DESCRIPTORS, most),
        )

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""
        self.session.close()

    @property
    def depth(self) -> int:
        """Operations that may be in flight."""
        return self._data.total

    @property
    def control_depth(self) -> int:
        """Sessions that may be in the making, or ending."""
        return self._control.total

    def stateless(self, service: Service) -> bool:
        """Return whether operations of a service may be asked for without a session."""
        needed = Feature.REVISION_1 | STATELESS_MODE[service]
        return self.features & needed == needed

    # A session.

    def create_session(self, parameters: Parameters) -> int:
        """Make a session and return its id.

        Raises LocalProtocolError for what the device does not offer (EOPNOTSUPP) or for a key that
        is too long for it; DeviceError: ENOSPC where it has no room for a session, EKEYREJECTED,
        EOPNOTSUPP, EIO; CompletionError, SessionLost.
        """
        request = self._start_create(parameters, wait=True)
        return self._created(request, self._wait(request))

    async def create_session_in_task(self, parameters: Parameters) -> int:
        """As ``create_session``, from a trio task."""
        request = self._start_create(parameters, wait=False)
        return self._created(request, await self._wait_in_task(request))

    def destroy_session(self, service: Service, session_id: int) -> None:
        """End a session, which is not to be used any more whatever comes of it."""
        request = self._start_destroy(service, session_id, wait=True)
        self._finish(request, self._wait(request))

    async def destroy_session_in_task(self, service: Service, session_id: int) -> None:
        """As ``destroy_session``, from a trio task."""
        request = self._start_destroy(service, session_id, wait=False)
        self._finish(request, await self._wait_in_task(request))

    # An operation.

    def execute(self, operation: DataRequest) -> memoryview:
        """Have an operation executed and return its result.

        The result is as long as was asked for; that of AKCIPHER may be shorter. Raises
        LocalProtocolError for what is not offered (EOPNOTSUPP), beyond the device's limit (EFBIG)
        or in no session of ours (ESTALE); DeviceError: EBADMSG where a tag does not fit,
        EKEYREJECTED where a signature does not, ESTALE where the device does not know the session,
        EOPNOTSUPP, EIO; CompletionError, SessionLost.
        """
        request = self._start_operation(operation, wait=True)
        return self._executed(operation, request, self._wait(request))

    async def execute_in_task(self, operation: DataRequest) -> memoryview:
        """As ``execute``, from a trio task."""
        from vof.fabric.tasks import in_thread  # noqa: PLC0415 - who has no tasks has no trio

        request = await in_thread(lambda: self._start_operation(operation, wait=False))
        return self._executed(operation, request, await self._wait_in_task(request))

    def _start_create(self, parameters: Parameters, *, wait: bool) -> _InFlight:
        self._check_parameters(parameters)
        wire = create_session_request(parameters, self.features)
        return self._start("create_session", self._control, wire, wait=wait)

    def _created(self, request: _InFlight, arrival: Arrival) -> int:
        _check_completion(request, arrival)
        length = min(arrival.lengths[0], arrival.used)
        try:
            session_id, status = read_session_answer(memoryview(request.buffers[0])[:length])
        except RemoteProtocolError as error:
            raise self._violation(str(error)) from None
        if status != Status.OK:
            raise _failed(request, status)
        with self._mutex:
            # Two sessions that are one would mix up their keys.
            known = session_id in self._sessions
            self._sessions.add(session_id)
        if known:
            raise self._violation(f"session {session_id} was made twice")
        return session_id

    def _start_destroy(self, service: Service, session_id: int, *, wait: bool) -> _InFlight:
        with self._mutex:
            if session_id not in self._sessions:
                raise _no_session(session_id)
            # At once: the device may use the number again before its answer has been read.
            self._sessions.remove(session_id)
        wire = destroy_session_request(service, session_id, self.features)
        return self._start("destroy_session", self._control, wire, wait=wait)

    def _start_operation(self, operation: DataRequest, *, wait: bool) -> _InFlight:
        what = operation.opcode.name.lower()
        if operation.parameters:
            self._check_parameters(operation.parameters)
        else:
            self._check_service(operation.service)
            with self._mutex:
                if operation.session_id not in self._sessions:
                    raise _no_session(operation.session_id)
        if operation.variable_size > self.max_size:
            raise LocalProtocolError(
                f"{what} of {operation.variable_size} bytes in all; the device takes "
                f"{self.max_size}",
                errno=errno.EFBIG,
            )
        return self._start(what, self._data, data_request(operation, self.features), wait=wait)

    def _executed(self, operation: DataRequest, request: _InFlight, arrival: Arrival) -> memoryview:
        try:
            self._finish(request, arrival)
        except DeviceError as error:
            if error.status == Status.INVSESS and not operation.parameters:
                # The device has lost it; it may give the number to the next.
                with self._mutex:
                    self._sessions.discard(operation.session_id)
            raise
        if not operation.result_len:
            return memoryview(b"")
        length = min(arrival.lengths[0], arrival.used - STATUS_SIZE)
        if length < _LEAST.get(operation.opcode, operation.result_len):
            raise self._violation(
                f"{request.what} succeeded with {length} of {operation.result_len} bytes"
            )
        return memoryview(request.buffers[0])[:length]

    def _finish(self, request: _InFlight, arrival: Arrival) -> None:
        """Check an answer whose last buffer is the status byte."""
        _check_completion(request, arrival)
        if arrival.lengths[-1] != STATUS_SIZE or arrival.used < STATUS_SIZE:
            raise self._violation(f"{request.what} completed without a status byte")
        status = request.buffers[-1][0]
        if status != Status.OK:
            raise _failed(request, status)

    def _start(self, what: str, slots: Slots, wire: WireRequest, *, wait: bool) -> _InFlight:
        *results, last = wire.writable
        buffers = (*map(bytearray, results), bytearray(UNWRITTEN * last))
        queue = slots.take(wait=wait)
        if queue is None:
            raise LocalProtocolError(f"more than {slots.total} requests at a time: {what}")
        try:
            pending = queue.submit(
                what,
                [len(part) for part in wire.readable],
                wire.readable,
                [memoryview(buffer) for buffer in buffers],
                last,
                counted=bool(results),  # RSA's may be shorter than its room
            )
        except BaseException:
            slots.give(queue)
            raise
        assert pending is not None
        return _InFlight(what, slots, queue, pending, buffers)

    def _wait(self, request: _InFlight) -> Arrival:
        try:
            return request.queue.wait(request.pending)
        finally:
            request.slots.give(request.queue)

    async def _wait_in_task(self, request: _InFlight) -> Arrival:
        try:
            return await request.queue.wait_in_task(request.pending)
        finally:
            request.slots.give(request.queue)

    def _check_service(self, service: Service) -> None:
        if not self.config.algorithms(service):
            raise LocalProtocolError(
                f"the device of '{self.session.tvqn}' has no {service.name}",
                errno=errno.EOPNOTSUPP,
            )

    def _check_parameters(self, parameters: Parameters) -> None:
        service = parameters.service
        self._check_service(service)
        if parameters.algo not in self.config.algorithms(service):
            raise LocalProtocolError(
                f"the device of '{self.session.tvqn}' has no {service.name} {parameters.algo.name}",
                errno=errno.EOPNOTSUPP,
            )
        limit = self.max_key_length(service)
        if len(parameters.key) > limit:
            raise LocalProtocolError(
                f"a key of {len(parameters.key)} bytes; the device takes {limit}"
            )

    def max_key_length(self, service: Service) -> int:
        """Return how long a key may be, in bytes."""
        match service:
            case Service.CIPHER | Service.AEAD:
                return self.config.max_cipher_key_len
            case Service.MAC:
                return self.config.max_auth_key_len
            case Service.HASH:
                return 0
            case Service.AKCIPHER:
                return self.max_size

    def _violation(self, what: str) -> RemoteProtocolError:
        """End the association; return the error that says why."""
        error = RemoteProtocolError(
            f"{self.session.where}: protocol violation by the device: {what}"
        )
        self.session.fail(error)
        return error


def _read_config(session: Session) -> Config:
    """Return the config space, once what it says of the queues has proved to be possible."""
    config = Config(**read_config(session.control, layout_of(Config), Config._fields))
    last = config.max_dataqueues  # the control queue's index
    if last < 1 or not session.queue_sizes.has(last) or session.queue_sizes.has(last + 1):
        raise RemoteProtocolError(
            f"{session.where}: the device's config is impossible: max_dataqueues "
            f"{last} with {session.queue_sizes.count()} virtqueues, one of them for control"
        )
    return config


def _check_ready(session: Session) -> None:
    offset, width = layout_of(Config).fields["status"]
    if not session.control.get_config(offset, width) & DeviceStatus.HW_READY:
        raise ConnectError(
            f"{session.where}: the device of '{session.tvqn}' is not ready",
            errno=errno.EAGAIN,
        )


def _check_completion(request: _InFlight, arrival: Arrival) -> None:
    if arrival.completion.status:
        raise request.queue.refusal(request.what, arrival.completion.status)


def _no_session(session_id: int) -> LocalProtocolError:
    return LocalProtocolError(f"session {session_id} is not open", errno=errno.ESTALE)


def _failed(request: _InFlight, status: int) -> DeviceError:
    request.queue.fabric.count_failed(request.what)
    return device_error(request.what, status)
