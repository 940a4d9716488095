# SPDX-License-Identifier: BSD-3-Clause
"""The crypto device of virtio 1.2 §5.9, with AKCIPHER of virtio 1.3: sessions, and operations.

Owns what is offered, the config space, and which queue takes what: data queues first, the control
queue last. The requests' layouts are ``vof.wire``'s, the keys ``crypto_sessions``', the computing a
backend's. Must not know transports or associations.

Every request is answered with its whole device-writable area, errors too: zeros and a status. Only
AKCIPHER's result is as short as it is, since its driver learns the length from the bytes written.
An empty one (PKCS#1 can decrypt to nothing) makes a descriptor of length 0, which would stop the
Linux initiator; that one does not negotiate REVISION_1, and is told ERR.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

from vof.errors import RemoteProtocolError
from vof.target.backends.backend import BackendOptions
from vof.target.backends.crypto_interface import CryptoBackend
from vof.target.devices.crypto_answers import refuse, zero
from vof.target.devices.crypto_results import kind_of, result_of
from vof.target.devices.crypto_sessions import SessionTable, wipe
from vof.target.devices.device import (
    BlockingInstance,
    Device,
    DeviceInstance,
    QueuePolicy,
    Request,
    Result,
)
from vof.target.devices.model import DeviceModel
from vof.target.values import Values, integer, size_within
from vof.wire.constants import CommonFeature, DeviceId
from vof.wire.crypto import (
    STATELESS_MODE,
    BadRequest,
    Config,
    DeviceStatus,
    Feature,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest, check_request
from vof.wire.crypto_requests import parse_data_request
from vof.wire.crypto_sessions import CreateSession, parse_control_request, session_answer
from vof.wire.stream import StreamLimits
from vof.wire.structs import pack

QUEUE_SIZE = 256

MAX_QUEUES = 64
"""Data queues."""

MAX_SESSIONS = 65536

DEFAULT_SIZE = 1 << 20
"""Bytes of all variable-length parts of an operation, its result included."""

MIN_SIZE, MAX_SIZE = 4 << 10, 16 << 20

MAX_CIPHER_KEY, MAX_MAC_KEY = 64, 512

_SLACK = 64 << 10
"""Bytes by which a request may be larger than any that is executed, and is still answered."""


@dataclass(frozen=True)
class CryptoDeviceOptions:
    """Keys of the ``backend`` line that are the device's, whatever the driver."""

    queues: int = 1
    """Data queues."""
    sessions: int = 256
    """Sessions of one association."""
    max_size: int = DEFAULT_SIZE
    services: frozenset[Service] = frozenset(Service)
    """Offered of what the backend can do."""

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the device's keys. Raises ConfigError."""
        return cls(
            queues=values.take("queues", integer(1, MAX_QUEUES), 1),
            sessions=values.take("sessions", integer(1, MAX_SESSIONS), 256),
            max_size=values.take("max_size", size_within(MIN_SIZE, MAX_SIZE), DEFAULT_SIZE),
            services=values.take("services", _services, frozenset(Service)),
        )


def _services(text: str) -> frozenset[Service]:
    known = {service.name.lower(): service for service in Service}
    names = text.split("+")
    if not known.keys() >= set(names):
        raise ValueError(f"is not a list of services; join some of these by +: {', '.join(known)}")
    return frozenset(known[name] for name in names)


class CryptoDevice(Device):
    """One crypto device, shared by all its initiators; none can use another's sessions."""

    device_id = DeviceId.CRYPTO
    queue_size = QUEUE_SIZE

    def __init__(
        self, tvqn: str, mask: int, options: CryptoDeviceOptions, backend: CryptoBackend
    ) -> None:
        """``backend`` belongs to the device from now on. ``mask`` limits the offer unless it is
        0.
        """
        self.tvqn = tvqn
        self.options = options
        self.backend: CryptoBackend = backend
        self.limits = StreamLimits(max_ndesc=QUEUE_SIZE, max_transfer=options.max_size + _SLACK)
        self.num_queues = options.queues + 1
        self.control_queue = options.queues
        self.config = Config(
            status=DeviceStatus.HW_READY,
            max_dataqueues=options.queues,
            max_cipher_key_len=MAX_CIPHER_KEY,
            max_auth_key_len=MAX_MAC_KEY,
            max_size=options.max_size,
        ).with_algorithms(
            {each: algos for each, algos in backend.offer.items() if each in options.services}
        )
        self.features = self._offer(mask)
        self._ids = itertools.count(1)

    def policy(self, queue: int) -> QueuePolicy:
        # Sessions begin and end in the order in which that was asked for.
        return QueuePolicy(ordered=queue == self.control_queue)

    def new_instance(self) -> DeviceInstance:
        return CryptoInstance(self)

    def next_id(self) -> int:
        """Return the id of a new session."""
        return next(self._ids)

    def _offer(self, mask: int) -> int:
        offer = CommonFeature.VERSION_1 | Feature.REVISION_1
        for service in Service:
            if self.config.crypto_services >> service & 1:
                offer |= STATELESS_MODE[service]
        features = int(offer) & (mask or -1)
        if not features & Feature.REVISION_1:
            features &= int(CommonFeature.VERSION_1)  # §5.9.3.1: the others need it
        return features


class CryptoInstance(BlockingInstance):
    """One driver's sessions and requests."""

    tail = 1  # the status byte

    def __init__(self, device: CryptoDevice) -> None:
        self._device = device
        self._sessions = SessionTable(device.options.sessions, device.next_id)
        self.reset()

    def reset(self) -> None:
        # A driver that never chooses is served as one that chose nothing.
        self._features = 0
        self._sessions.clear()

    def choose_features(self, features: int) -> None:
        self._features = features

    def read_config(self) -> bytes:
        return pack(self._device.config)

    def execute(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        if not writable:
            raise RemoteProtocolError("a crypto request has no room for its status")
        control = queue == self._device.control_queue
        try:
            if control:
                return self._control(readable, writable)
            return self._operation(readable, writable)
        except BadRequest as error:
            refuse(error.status, readable, writable, control=control)
            return len(writable)

    def kind_of(self, request: Request) -> str:
        return kind_of(request.readable, control=self._is_control(request))

    def result_of(self, request: Request, used: int) -> Result:
        control = self._is_control(request)
        return result_of(request.readable, request.writable, used, control=control)

    def close(self) -> None:
        self._sessions.clear()

    def _is_control(self, request: Request) -> bool:
        return request.queue == self._device.control_queue

    def _control(self, readable: memoryview, writable: memoryview) -> int:
        device = self._device
        request = parse_control_request(readable, len(writable), self._features, device.config)
        if isinstance(request, CreateSession):
            try:
                session_id = self._sessions.create(request.parameters, device.backend.prepare)
            finally:
                wipe(request.parameters.key)
            writable[:] = session_answer(session_id)
        else:
            self._sessions.destroy(request.service, request.session_id)
            writable[0] = Status.OK
        return len(writable)

    def _operation(self, readable: memoryview, writable: memoryview) -> int:
        device = self._device
        request = parse_data_request(readable, len(writable), self._features, device.config)
        if request.parameters:
            try:
                result = device.backend.prepare(request.parameters).execute(request)
            finally:
                wipe(request.parameters.key)
        else:
            with self._sessions.use(request.session_id) as session:
                check_request(request, session.parameters)
                assert session.context is not None
                result = session.context.execute(request)
        return self._answer(request, result, writable)

    def _answer(self, request: DataRequest, result: bytes, writable: memoryview) -> int:
        size = len(result)
        if size > request.result_len:
            raise BadRequest(
                Status.ERR, f"a result of {size} bytes, with room for {request.result_len}"
            )
        short = size < request.result_len and request.service is Service.AKCIPHER
        if short and not size and not self._features & Feature.REVISION_1:
            raise BadRequest(Status.ERR, "the result is empty")
        writable[:size] = result
        zero(writable[size:])
        writable[-1] = Status.OK
        return size + 1 if short else len(writable)


def _openssl(values: Values, _options: CryptoDeviceOptions) -> BackendOptions:
    # To load OpenSSL takes a target longer than all the rest of its start.
    from vof.target.backends.crypto_openssl import OpensslOptions  # noqa: PLC0415

    return OpensslOptions.take(values)


MODEL = DeviceModel(
    name="crypto",
    device_id=DeviceId.CRYPTO,
    take=CryptoDeviceOptions.take,
    backends={"crypto-openssl": _openssl},
    make=lambda tvqn, mask, options, backend, _clock: CryptoDevice(tvqn, mask, options, backend),
)
