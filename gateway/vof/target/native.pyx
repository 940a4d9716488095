# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=True
"""The native data path of a block device's queues: bindings of gateway/native/target.

Owns the lifetime of what is C and nothing else: no decision is made here. The stub beside it says
what each thing does. In parts that make one module: ``block.pxi`` is the device, which knows no
transport, and ``stream.pxi`` what serves a connected socket with it.
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
from vof.target.native_events import ControlCommand, DiskError, NativeRequest
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

cdef extern from "target/fault.h" nogil:
    struct vof_fault:
        pass

cdef extern from "target/stream/command_parser.h" nogil:
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
    int vof_stream_rules_good(const vof_stream_rules *rules)
    void vof_describe_fault(const vof_stream_rules *rules, const vof_fault *fault, char *text)

cdef extern from "target/buffers.h" nogil:
    struct vof_stash:
        size_t largest
        uint32_t keep

cdef extern from "target/stream/intake.h" nogil:
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

cdef extern from "target/stream/outbox.h" nogil:
    enum: VOF_OUTBOX_SIZE

cdef extern from "target/block/request.h" nogil:
    enum: VOF_RULE_FLUSH, VOF_RULE_DISCARD, VOF_RULE_WRITE_ZEROES, VOF_RULE_PERSIST
    struct vof_block_limits:
        uint32_t max_discard_sectors
        uint32_t max_write_zeroes_sectors
        uint32_t max_segments
        bint readonly

cdef extern from "target/block/store.h" nogil:
    enum: VOF_STORE_CUT_SHORT
    struct vof_store:
        pass
    void vof_store_open_memory(vof_store *store, uint8_t *memory)
    void vof_store_open_file(vof_store *store, int fd, bint readonly, bint write_through,
                             bint can_discard)

cdef extern from "target/block/device.h" nogil:
    # Read without a lock by C, and set by set_capacity alone here.
    ctypedef uint64_t vof_bytes "_Atomic uint64_t"
    struct vof_device:
        vof_store store
        vof_bytes capacity
    vof_device *vof_device_open(const vof_block_limits *limits, uint64_t capacity,
                                unsigned threads)
    void vof_device_close(vof_device *device)

cdef extern from "target/stream/queue.h" nogil:
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

cdef raise_error(int error):
    if error == ENOMEM:
        raise MemoryError
    raise OSError(error, os.strerror(error))


include "block.pxi"
include "stream.pxi"
