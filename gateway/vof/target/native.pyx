# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=True
"""The native data path of a block device's queues: bindings of gateway/native/target.

Owns the lifetime of what is C and nothing else: no decision is made here. The stub beside it says
what each thing does.
"""

from libc.errno cimport EAGAIN, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITABLE
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer

import os

from vof.counts import OTHER, Count
from vof.errors import RemoteProtocolError
from vof.target.backends.direct import CUT_SHORT
from vof.target.native_events import ControlCommand, DiskError, Request
from vof.wire.dialect import Framing


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "counts.h" nogil:
    enum: VOF_LATENCY_BUCKETS
    struct vof_count:
        uint64_t requests
        uint64_t data_bytes
        uint64_t failed
        uint64_t nanoseconds
        uint64_t *latencies

cdef extern from "target/command_parser.h" nogil:
    enum: VOF_MAX_PLAIN_OPCODES, VOF_FAULT_TEXT_SIZE, VOF_DIALECT_NAME_SIZE
    enum vof_framing:
        VOF_FRAMING_CHAINS
        VOF_FRAMING_SEGMENTS
        VOF_FRAMING_LENGTHS
    struct vof_stream_rules:
        char *dialect
        vof_framing framing
        uint32_t max_ndesc
        uint64_t max_transfer
        uint32_t plain_count
        uint16_t *plain
    struct vof_segment:
        uint32_t length
        uint16_t id
        uint16_t flags
    struct vof_command:
        uint16_t opcode
        uint16_t command_id
        uint16_t ndesc
        uint32_t readable
        uint32_t writable
        uint8_t *head
    struct vof_fault:
        pass
    int vof_stream_rules_good(const vof_stream_rules *rules)
    void vof_describe_fault(const vof_stream_rules *rules, const vof_fault *fault, char *text)

cdef extern from "target/buffers.h" nogil:
    struct vof_stash:
        size_t largest
        uint32_t keep

cdef extern from "target/intake.h" nogil:
    enum: VOF_RECEIVE_SIZE
    enum vof_intake_result:
        VOF_INTAKE_MORE
        VOF_INTAKE_COMMAND
        VOF_INTAKE_VIOLATION
        VOF_INTAKE_NO_MEMORY
    struct vof_intake:
        vof_command command
        const uint8_t *payload
        vof_segment *segments
    void vof_intake_begin(vof_intake *intake, const vof_stream_rules *rules, vof_stash *stash,
                          uint8_t *bytes)
    vof_intake_result vof_intake_next(vof_intake *intake, vof_fault *fault)
    int vof_intake_space(vof_intake *intake, iovec *pieces)
    void vof_intake_advance(vof_intake *intake, size_t count)
    void vof_intake_end(vof_intake *intake)

cdef extern from "target/outbox.h" nogil:
    enum: VOF_OUTBOX_SIZE

cdef extern from "target/request.h" nogil:
    enum: VOF_RULE_FLUSH, VOF_RULE_DISCARD, VOF_RULE_WRITE_ZEROES, VOF_RULE_PERSIST
    struct vof_block_limits:
        uint32_t max_discard_sectors
        uint32_t max_write_zeroes_sectors
        uint32_t max_segments
        bint readonly

cdef extern from "target/store.h" nogil:
    enum: VOF_STORE_CUT_SHORT
    struct vof_store:
        pass
    void vof_store_open_memory(vof_store *store, uint8_t *memory)
    void vof_store_open_file(vof_store *store, int fd, bint readonly, bint write_through,
                             bint can_discard)

cdef extern from "target/device.h" nogil:
    # Read without a lock by C, and set by set_capacity alone here.
    ctypedef uint64_t vof_bytes "_Atomic uint64_t"
    struct vof_device:
        vof_store store
        vof_bytes capacity
    vof_device *vof_device_open(const vof_block_limits *limits, uint64_t capacity,
                                unsigned threads)
    void vof_device_close(vof_device *device)

cdef extern from "target/queue.h" nogil:
    # A word that C reads without a lock: only vof_rules_set touches it here.
    ctypedef uint32_t vof_rules "_Atomic uint32_t"
    struct vof_served_queue:
        pass
    struct vof_served_queue_setup:
        vof_device *device
        const vof_rules *rules
        vof_stream_rules stream
        int fd
        uint32_t width
        uint32_t depth
        size_t largest_kept
    enum vof_event:
        VOF_EVENT_END
        VOF_EVENT_CONTROL
        VOF_EVENT_REQUEST
        VOF_EVENT_DISK_ERROR
        VOF_EVENT_VIOLATION
        VOF_EVENT_ERROR
    struct vof_report:
        vof_fault fault
        const vof_command *command
        const uint8_t *payload
        uint32_t count
        uint32_t type
        uint64_t sector
        int error
    vof_served_queue *vof_served_queue_open(const vof_served_queue_setup *setup)
    vof_event vof_served_queue_serve(vof_served_queue *queue, vof_report *report)
    int vof_served_queue_answer(vof_served_queue *queue, const uint8_t *area)
    int vof_served_queue_send(vof_served_queue *queue, const uint8_t *data, size_t size)
    int vof_served_queue_drain(vof_served_queue *queue)
    int vof_served_queue_flush(vof_served_queue *queue)
    enum: VOF_SERVED_KINDS
    void vof_served_queue_counts(const vof_served_queue *queue, vof_count *counts)
    uint32_t vof_served_queue_busy(const vof_served_queue *queue)
    void vof_served_queue_stop(vof_served_queue *queue)
    void vof_served_queue_finish(vof_served_queue *queue, double seconds)
    void vof_served_queue_close(vof_served_queue *queue)

cdef extern from *:
    """
    static void set_rules(_Atomic uint32_t *rules, uint32_t bits)
    {
        atomic_store(rules, bits);
    }

    static void set_capacity(_Atomic uint64_t *capacity, uint64_t bytes)
    {
        atomic_store(capacity, bytes);
    }
    """
    void set_rules(vof_rules *rules, uint32_t bits) nogil
    void set_capacity(vof_bytes *capacity, uint64_t bytes) nogil

_FRAMINGS = {
    Framing.CHAINS: <int>VOF_FRAMING_CHAINS,
    Framing.SEGMENTS: <int>VOF_FRAMING_SEGMENTS,
    Framing.LENGTHS: <int>VOF_FRAMING_LENGTHS,
}
RULE_FLUSH = <int>VOF_RULE_FLUSH
RULE_DISCARD = <int>VOF_RULE_DISCARD
RULE_WRITE_ZEROES = <int>VOF_RULE_WRITE_ZEROES
RULE_PERSIST = <int>VOF_RULE_PERSIST
RECEIVE_SIZE = <int>VOF_RECEIVE_SIZE
OUTBOX_SIZE = <int>VOF_OUTBOX_SIZE

# What requests are counted as, in the order of C.
_KINDS = (
    "VIRTIO_BLK_T_IN", "VIRTIO_BLK_T_OUT", "VIRTIO_BLK_T_FLUSH", "VIRTIO_BLK_T_DISCARD",
    "VIRTIO_BLK_T_WRITE_ZEROES", OTHER,
)
assert len(_KINDS) == VOF_SERVED_KINDS

# Requests of one device that may wait for its disk at the same time.
cdef unsigned POOL_THREADS = 16


cdef raise_fault(const vof_stream_rules *rules, const vof_fault *fault):
    cdef char[VOF_FAULT_TEXT_SIZE] text
    vof_describe_fault(rules, fault, text)
    raise RemoteProtocolError((<bytes>text).decode("ascii"))


cdef raise_error(int error):
    if error == ENOMEM:
        raise MemoryError
    raise OSError(error, os.strerror(error))


cdef disk_reason(int error):
    if error == VOF_STORE_CUT_SHORT:
        return CUT_SHORT
    return os.strerror(error)


cdef set_stream_rules(vof_stream_rules *rules, dialect, max_ndesc, max_transfer, plain_opcodes,
                      framing):
    cdef bytes name = dialect.encode("ascii")
    opcodes = sorted(plain_opcodes)
    if len(name) >= VOF_DIALECT_NAME_SIZE:
        raise ValueError("a dialect's name is too long")
    memcpy(rules.dialect, <const char *>name, len(name) + 1)
    if len(opcodes) > VOF_MAX_PLAIN_OPCODES:
        raise ValueError("more opcodes than there is room for")
    rules.framing = <vof_framing><int>_FRAMINGS[framing]
    rules.max_ndesc = max_ndesc
    rules.max_transfer = max_transfer
    rules.plain_count = len(opcodes)
    for index, opcode in enumerate(opcodes):
        rules.plain[index] = opcode
    if not vof_stream_rules_good(rules):
        raise ValueError("limits that the native data path does not keep")


cdef class Device:
    cdef vof_device *device
    cdef Py_buffer memory

    @staticmethod
    def on_file(int fd, *, readonly, write_through, can_discard, capacity, max_discard_sectors,
                max_write_zeroes_sectors, max_segments):
        cdef Device self = Device()
        self.open(readonly, capacity, max_discard_sectors, max_write_zeroes_sectors, max_segments)
        vof_store_open_file(&self.device.store, fd, readonly, write_through, can_discard)
        return self

    @staticmethod
    def on_memory(memory, *, readonly, capacity, max_discard_sectors, max_write_zeroes_sectors,
                  max_segments):
        cdef Device self = Device()
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        if <uint64_t>self.memory.len < <uint64_t>capacity:
            raise ValueError("the memory is smaller than the disk")
        self.open(readonly, capacity, max_discard_sectors, max_write_zeroes_sectors, max_segments)
        vof_store_open_memory(&self.device.store, <uint8_t *>self.memory.buf)
        return self

    cdef open(self, readonly, capacity, max_discard_sectors, max_write_zeroes_sectors,
              max_segments):
        cdef vof_block_limits limits
        limits.max_discard_sectors = max_discard_sectors
        limits.max_write_zeroes_sectors = max_write_zeroes_sectors
        limits.max_segments = max_segments
        limits.readonly = readonly
        self.device = vof_device_open(&limits, capacity, POOL_THREADS)
        if self.device is NULL:
            raise MemoryError

    def resize(self, uint64_t capacity):
        if self.device is NULL:
            raise ValueError("the device is closed")
        if self.memory.buf is not NULL and <uint64_t>self.memory.len < capacity:
            raise ValueError("the memory is smaller than the disk")
        set_capacity(&self.device.capacity, capacity)

    def close(self):
        cdef vof_device *device = self.device
        self.device = NULL
        if device is not NULL:
            with nogil:
                vof_device_close(device)
        PyBuffer_Release(&self.memory)

    def __dealloc__(self):
        if self.device is not NULL:
            vof_device_close(self.device)
        PyBuffer_Release(&self.memory)


cdef class Rules:
    cdef vof_rules *rules

    def __cinit__(self):
        self.rules = <vof_rules *>calloc(1, sizeof(uint32_t))
        if self.rules is NULL:
            raise MemoryError

    def set(self, uint32_t bits):
        set_rules(self.rules, bits)

    def __dealloc__(self):
        free(self.rules)


cdef class Queue:
    cdef vof_served_queue *queue
    cdef vof_stream_rules stream
    # What the queue uses lives at least as long.
    cdef Device device
    cdef Rules rules
    cdef dict last_counts  # once it is closed

    def __init__(self, Device device not None, Rules rules not None, int fd, *, width, dialect,
                 max_ndesc, max_transfer, plain_opcodes, framing, largest_kept, depth=0):
        cdef vof_served_queue_setup setup
        if self.queue is not NULL or device.device is NULL:
            raise ValueError("not to be opened")
        set_stream_rules(&setup.stream, dialect, max_ndesc, max_transfer, plain_opcodes, framing)
        self.stream = setup.stream
        setup.device = device.device
        setup.rules = rules.rules
        setup.fd = fd
        setup.width = width
        setup.depth = depth
        setup.largest_kept = largest_kept
        self.device = device
        self.rules = rules
        self.queue = vof_served_queue_open(&setup)
        if self.queue is NULL:
            raise MemoryError

    def serve(self):
        cdef vof_report report
        cdef vof_event event
        cdef vof_served_queue *queue = self.opened()
        with nogil:
            event = vof_served_queue_serve(queue, &report)
        if event == VOF_EVENT_CONTROL:
            return ControlCommand(report.command.head[:16])
        if event == VOF_EVENT_REQUEST:
            payload = PyMemoryView_FromMemory(<char *>report.payload, report.command.readable,
                                              PyBUF_READ)
            return Request(payload, report.command.writable)
        if event == VOF_EVENT_DISK_ERROR:
            reason = disk_reason(report.error)
            return DiskError(report.type, report.sector, reason, report.count - 1)
        if event == VOF_EVENT_VIOLATION:
            raise_fault(&self.stream, &report.fault)
        if event == VOF_EVENT_ERROR:
            raise_error(report.error)
        return None

    def send(self, const uint8_t[::1] data not None):
        cdef vof_served_queue *queue = self.opened()
        cdef size_t size = data.shape[0]
        cdef int error = 0
        if size:
            with nogil:
                error = vof_served_queue_send(queue, &data[0], size)
        if error:
            raise_error(error)

    def answer(self, const uint8_t[::1] area not None):
        cdef vof_served_queue *queue = self.opened()
        cdef int error
        with nogil:
            error = vof_served_queue_answer(queue, &area[0])
        if error:
            raise_error(error)

    def drain(self):
        cdef vof_served_queue *queue = self.opened()
        cdef int error
        with nogil:
            error = vof_served_queue_drain(queue)
        if error:
            raise_error(error)

    def flush(self):
        cdef vof_served_queue *queue = self.opened()
        cdef int error
        with nogil:
            error = vof_served_queue_flush(queue)
        if error:
            raise_error(error)

    def stop(self):
        # With the GIL held, as in close: the queue cannot go meanwhile.
        if self.queue is not NULL:
            vof_served_queue_stop(self.queue)

    def finish(self, double grace):
        if self.queue is not NULL:
            vof_served_queue_finish(self.queue, grace)

    def counts(self):
        # With the GIL held, as in close.
        cdef vof_count counts[VOF_SERVED_KINDS]
        if self.queue is NULL:
            return self.last_counts or {}
        vof_served_queue_counts(self.queue, counts)
        found = {}
        for kind, name in enumerate(_KINDS):
            if counts[kind].requests:
                found[name] = Count(
                    requests=counts[kind].requests,
                    data_bytes=counts[kind].data_bytes,
                    failed=counts[kind].failed,
                    seconds=counts[kind].nanoseconds / 1e9,
                    latencies=tuple(
                        [counts[kind].latencies[i] for i in range(VOF_LATENCY_BUCKETS)]
                    ),
                )
        return found

    def busy(self):
        return 0 if self.queue is NULL else vof_served_queue_busy(self.queue)

    def close(self):
        cdef vof_served_queue *queue = self.queue
        self.last_counts = self.counts()
        self.queue = NULL
        if queue is not NULL:
            with nogil:
                vof_served_queue_close(queue)

    cdef vof_served_queue *opened(self) except NULL:
        if self.queue is NULL:
            raise ValueError("the queue is closed")
        return self.queue

    def __dealloc__(self):
        if self.queue is not NULL:
            vof_served_queue_close(self.queue)


cdef class Framer:
    cdef vof_stream_rules rules
    cdef vof_stash stash
    cdef vof_intake *intake
    cdef uint8_t *room

    def __cinit__(self, *, dialect, max_ndesc, max_transfer, plain_opcodes, framing):
        set_stream_rules(&self.rules, dialect, max_ndesc, max_transfer, plain_opcodes, framing)
        self.stash.keep = 0
        self.room = <uint8_t *>calloc(1, VOF_RECEIVE_SIZE)
        self.intake = <vof_intake *>calloc(1, sizeof(vof_intake))
        if self.intake is NULL or self.room is NULL:
            raise MemoryError
        vof_intake_begin(self.intake, &self.rules, &self.stash, self.room)

    def feed(self, const uint8_t[::1] data not None):
        cdef size_t place = 0, size = data.shape[0], part
        cdef iovec pieces[2]
        cdef int count
        done = self.take()
        while place < size:
            count = vof_intake_space(self.intake, pieces)
            part = 0
            for index in range(count):
                step = min(size - place, pieces[index].iov_len)
                memcpy(pieces[index].iov_base, &data[place] if step else NULL, step)
                place += step
                part += step
                if place == size:
                    break
            vof_intake_advance(self.intake, part)
            done += self.take()
        return done

    cdef take(self):
        cdef vof_fault fault
        cdef vof_intake_result result
        cdef vof_command *command = &self.intake.command
        done = []
        while True:
            result = vof_intake_next(self.intake, &fault)
            if result == VOF_INTAKE_MORE:
                return done
            if result == VOF_INTAKE_NO_MEMORY:
                raise MemoryError
            if result == VOF_INTAKE_VIOLATION:
                raise_fault(&self.rules, &fault)
            done.append((
                command.opcode,
                command.command_id,
                command.head[:16],
                [(self.intake.segments[i].length, self.intake.segments[i].id,
                  self.intake.segments[i].flags) for i in range(command.ndesc)],
                command.writable,
                self.intake.payload[:command.readable],
            ))

    def __dealloc__(self):
        if self.intake is not NULL:
            vof_intake_end(self.intake)
        free(self.intake)
        free(self.room)
