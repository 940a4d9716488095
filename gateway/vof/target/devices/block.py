# SPDX-License-Identifier: BSD-3-Clause
"""The block device of virtio 1.2 §5.2: what it offers, its config space, its write cache mode, and
its size, which follows that of its backend.

Requests are executed by ``block_request``, or natively by gateway/native/target/block under the
same limits. Must not know transports, associations or how a backend keeps data.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from vof.errors import ConfigError
from vof.implementation import use_native
from vof.logline import event
from vof.target.backends.block_interface import BlockBackend, NativeLimits
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.devices.block_request import (
    BlockRequests,
    RequestLimits,
    ServedSize,
    kind_of,
    result_of,
)
from vof.target.devices.device import (
    BlockingInstance,
    Device,
    DeviceInstance,
    NativeExecutor,
    Request,
    Result,
)
from vof.target.devices.model import DeviceModel
from vof.target.native_events import DiskError
from vof.target.values import Values, flag, integer, power_of_two, text_up_to
from vof.wire.blk import (
    FIELDS_BY_FEATURE,
    GET_ID_SIZE,
    SECTOR_SHIFT,
    SECTOR_SIZE,
    WRITEBACK_OFFSET,
    Config,
    Feature,
)
from vof.wire.constants import CommonFeature, DeviceId
from vof.wire.stream import StreamLimits
from vof.wire.structs import pack

_missing: ImportError | None = None
try:
    from vof.target import native
except ImportError as error:
    _missing = error

SIZE_MAX = 256 << 10
"""Bytes of one data segment."""

SEG_MAX = 126
"""Data segments of one request. With header and status byte they make 128 descriptors."""

QUEUE_SIZE = 256

MAX_QUEUES = 64

NATIVE_THREADS = 4
"""Requests of one native queue that are worked on at a time, where the configuration is silent."""

LIMITS = StreamLimits(
    max_ndesc=SEG_MAX + 2,
    # The header and the status byte may be written with room to spare; a page is plenty.
    max_transfer=SIZE_MAX * SEG_MAX + 4096,
)

REQUEST_LIMITS = RequestLimits(
    # A discard is one call to the file system; zeros may have to be written one by one, and no
    # request should keep its queue busy for minutes.
    max_discard_sectors=1 << 22,
    max_write_zeroes_sectors=1 << 21,
    max_secure_erase_sectors=1 << 21,
    max_segments=64,
)


@dataclass(frozen=True)
class BlockOptions:
    """Keys of the ``backend`` line that are the device's, whatever the driver."""

    queues: int = 1
    serial: str = ""
    readonly: bool = False
    block_size: int = SECTOR_SIZE

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the device's keys. Raises ConfigError."""
        return cls(
            queues=values.take("queues", integer(1, MAX_QUEUES), 1),
            serial=values.take("serial", text_up_to(GET_ID_SIZE), ""),
            readonly=values.take("readonly", flag, default=False),
            block_size=values.take("block_size", power_of_two(SECTOR_SIZE, 65536), SECTOR_SIZE),
        )


class _Space(NamedTuple):
    """The config space, and how often it was changed by nobody's command."""

    generation: int
    config: Config


class BlockDevice(Device):
    """One disk, shared by all its initiators.

    Its size may change while it is served: requests are held to the new one, the config space says
    it under a new generation, and nothing else changes with it.
    """

    device_id = DeviceId.BLOCK
    queue_size = QUEUE_SIZE
    limits = LIMITS

    def __init__(self, tvqn: str, mask: int, options: BlockOptions, backend: BlockBackend) -> None:
        """``backend`` belongs to the device from now on. ``mask`` limits the offer unless it is 0.

        Raises ConfigError for a backend with less than one block, and where the native data path is
        insisted on and not there.
        """
        self.tvqn = tvqn
        self.num_queues = options.queues
        self.backend: BlockBackend = backend
        self.options = options
        self.served_size = ServedSize(self._served(backend.size))
        if not self.served_size.end:
            raise ConfigError(
                f"{backend.size} bytes are less than one block of {options.block_size} bytes"
            )
        self._tail = 0
        self._tell_tail(backend.size)
        self.features = self._offer(mask)
        # Replaced as a whole: nobody sees the one without the other.
        self._space = _Space(0, self._build_config())
        self._lock = threading.Lock()  # of a refresh, which a close must not meet
        self._closed = False
        self.native = self._open_native() if use_native(_missing) else None

    @property
    def generation(self) -> int:
        return self._space.generation

    @property
    def config(self) -> Config:
        """The config space as it is now, but for what is the driver's own."""
        return self._space.config

    def new_instance(self) -> DeviceInstance:
        return BlockInstance(self)

    def flush(self) -> None:
        self.backend.flush()

    def refresh(self) -> bool:
        with self._lock:
            if self._closed:
                return False
            size = self.backend.measure()
            end = self._served(size)
            if end == self.served_size.end:
                self._tell_tail(size)
                return False
            # Requests first: what a driver is told holds already.
            self.served_size.end = end
            if self.native:
                self.native.resize(end)
            generation, config = self._space
            capacity = end >> SECTOR_SHIFT
            self._space = _Space(generation + 1, config._replace(capacity=capacity))
        event(
            logging.WARNING,
            "resized",
            tvqn=self.tvqn,
            bytes=end,
            before=config.capacity << SECTOR_SHIFT,
        )
        self._tell_tail(size)
        return True

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self.native:
            self.native.close()
        self.backend.close()

    def _served(self, size: int) -> int:
        return size - size % self.options.block_size

    def _tell_tail(self, size: int) -> None:
        """Log that the end of the disk is not served, where it was all served before."""
        before, self._tail = self._tail, size % self.options.block_size
        if not self._tail or before:
            return
        event(
            logging.WARNING,
            "cut-off",
            tvqn=self.tvqn,
            bytes=self._tail,
            reason=f"at the end of {size} bytes they fill no block of "
            f"{self.options.block_size} bytes, and are not served",
        )

    def _open_native(self) -> native.Device | None:
        return self.backend.open_native(
            NativeLimits(
                readonly=self.options.readonly,
                capacity=self.served_size.end,
                max_discard_sectors=REQUEST_LIMITS.max_discard_sectors,
                max_write_zeroes_sectors=REQUEST_LIMITS.max_write_zeroes_sectors,
                max_segments=REQUEST_LIMITS.max_segments,
            )
        )

    def _offer(self, mask: int) -> int:
        backend = self.backend
        offer: list[int] = [
            CommonFeature.VERSION_1,
            Feature.SIZE_MAX,
            Feature.SEG_MAX,
            Feature.BLK_SIZE,
            Feature.FLUSH,
            Feature.TOPOLOGY,
            Feature.MQ,  # with one queue too, as the reference target does
        ]
        if not backend.write_through:
            # Where the configuration says write-through, no driver can switch it off.
            offer.append(Feature.CONFIG_WCE)
        if not self.options.readonly:
            offer.append(Feature.WRITE_ZEROES)
            if backend.can_discard:
                offer.append(Feature.DISCARD)
            if backend.can_secure_erase:
                offer.append(Feature.SECURE_ERASE)
        if backend.lifetime() is not None:
            offer.append(Feature.LIFETIME)
        features = sum(offer)
        if mask:
            features &= mask
        if not features & Feature.FLUSH:
            features &= ~int(Feature.CONFIG_WCE)  # §5.2.5.2: the one never without the other
        if self.options.readonly:
            # Not to be masked away: a driver that is not told would learn it from failed writes.
            features |= int(Feature.RO)
        return features

    def _build_config(self) -> Config:
        block = self.options.block_size
        physical = max(self.backend.physical_block, block)
        limits = REQUEST_LIMITS
        alignment = physical >> SECTOR_SHIFT
        full = Config(
            capacity=self.served_size.end >> SECTOR_SHIFT,
            size_max=SIZE_MAX,
            seg_max=SEG_MAX,
            blk_size=block,
            physical_block_exp=(physical // block).bit_length() - 1,
            min_io_size=physical // block,
            writeback=1,
            num_queues=self.num_queues,
            max_discard_sectors=limits.max_discard_sectors,
            max_discard_seg=limits.max_segments,
            discard_sector_alignment=alignment,
            max_write_zeroes_sectors=limits.max_write_zeroes_sectors,
            max_write_zeroes_seg=limits.max_segments,
            write_zeroes_may_unmap=int(self.backend.can_discard),
            max_secure_erase_sectors=limits.max_secure_erase_sectors,
            max_secure_erase_seg=limits.max_segments,
            secure_erase_sector_alignment=alignment,
        )
        # A field whose feature is not on offer means nothing: it says so by being 0.
        absent: dict[str, Any] = {
            name: 0
            for feature, names in FIELDS_BY_FEATURE.items()
            if feature is not None and not self.features & feature
            for name in names
        }
        return full._replace(**absent)


class BlockInstance(BlockingInstance):
    """One driver's view of the disk.

    The write cache mode is the driver's own (§5.2.5, §5.2.6.2): two initiators of one disk do not
    switch it for one another.
    """

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._requests = BlockRequests(
            device.tvqn,
            device.backend,
            device.served_size,
            REQUEST_LIMITS,
            serial=device.options.serial.encode(),
            readonly=device.options.readonly,
        )
        self._native_rules = native.Rules() if device.native else None
        self.reset()

    def reset(self) -> None:
        self._writeback = self._device.config.writeback
        self._chosen: int | None = None
        self._renew()

    def choose_features(self, features: int) -> None:
        self._chosen = features
        # §5.2.5.2: a driver that cannot flush starts with write-through.
        self._writeback = self._device.config.writeback if features & Feature.FLUSH else 0
        self._renew()

    def read_config(self) -> bytes:
        return pack(self._device.config._replace(writeback=self._writeback))

    def write_config(self, offset: int, data: bytes) -> bool:
        switchable = self._in_force() & Feature.CONFIG_WCE
        if offset != WRITEBACK_OFFSET or data not in (b"\0", b"\1") or not switchable:
            return False
        self._writeback = data[0]
        self._renew()
        if not self._writeback:
            # From here on the driver will not flush: what it wrote before has to be made safe now.
            self._device.flush()
        return True

    def execute(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        return self._requests.handle(readable, writable)

    def kind_of(self, request: Request) -> str:
        return kind_of(request.readable)

    def result_of(self, request: Request, used: int) -> Result:
        return result_of(request.readable, request.writable, used)

    def native_executor(self) -> NativeExecutor | None:
        device, rules = self._device.native, self._native_rules
        if not device or not rules:
            return None
        return NativeExecutor(device, rules, NATIVE_THREADS, self._report)

    def _report(self, error: DiskError) -> None:
        for _ in range(1 + error.more):
            self._requests.report(error.kind, error.sector, error.reason)

    def _in_force(self) -> int:
        # A driver that never chose is served by what is on offer: the reference target's own sample
        # initiator sends no feature command at all.
        return self._device.features if self._chosen is None else self._chosen

    def _renew(self) -> None:
        """Tell the requests what holds from now on."""
        features = self._in_force()
        if self._chosen is None:
            persist = True  # it has no way to know that there is a cache to flush
        elif features & Feature.CONFIG_WCE:
            persist = not self._writeback
        else:
            persist = not features & Feature.FLUSH
        self._requests.rules = replace(self._requests.rules, features=features, persist=persist)
        if self._native_rules:
            bits = native.RULE_PERSIST if persist else 0
            for feature, bit in (
                (Feature.FLUSH, native.RULE_FLUSH),
                (Feature.DISCARD, native.RULE_DISCARD),
                (Feature.WRITE_ZEROES, native.RULE_WRITE_ZEROES),
            ):
                bits |= bit if features & feature else 0
            self._native_rules.set(bits)


MODEL = DeviceModel(
    name="block",
    device_id=DeviceId.BLOCK,
    take=BlockOptions.take,
    backends={
        "block-posix": lambda values, options: PosixOptions.take(values, readonly=options.readonly),
        "block-memory": lambda values, _options: MemoryOptions.take(values),
    },
    make=lambda tvqn, mask, options, backend, _clock: BlockDevice(tvqn, mask, options, backend),
)
