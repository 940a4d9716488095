# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=False, freethreading_compatible=False
"""Binding of the native initiator (``gateway/native/initiator``): nothing is decided here.

Owns what ties C to Python objects: a command's buffers for as long as they are lent, the calls back
when a command is done or a connection is lost, and the errors. See ``fabric.interface`` for what
each method of a queue promises.
"""

import os
import socket as sockets
import time

from vof.counts import MAX_KINDS, OTHER, Count
from vof.errors import ConfigError, LocalProtocolError, RemoteProtocolError, SessionLost
from vof.fabric import stream_requests
from vof.fabric.interface import Activity, Statistics
from vof.fabric.pending import Pending
from vof.fabric.ticks import tick_of
from vof.wire.dialect import Framing
from vof.wire.stream import Arrival
from vof.wire.structs import HEAD, Completion

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from vof.engine.initiator cimport *

_NANOSECONDS = 1_000_000_000
_RESERVED = bytes(2)
_BLOCK_KINDS = tuple(vof_block_kind_name(i).decode() for i in range(VOF_BLOCK_KINDS))
assert VOF_KINDS == MAX_KINDS


cdef int64_t _nanoseconds(timeout) except -1:
    return 0 if timeout is None else max(1, int(timeout * _NANOSECONDS))


cdef vof_framing _c_framing(framing):
    return VOF_FRAMING_LENGTHS if framing is Framing.LENGTHS else VOF_FRAMING_SEGMENTS


cdef class _Flight:
    """A Pending's request while the queue has it, and the buffers lent with it."""

    cdef vof_request request
    cdef object pending
    cdef NativeQueue queue
    cdef Py_buffer *views
    cdef Py_ssize_t view_count
    cdef iovec *parts  # what is sent, the device-writable buffers, and scratch for the parser
    cdef uint32_t *lengths
    cdef bytes what

    def __cinit__(self, NativeQueue queue, pending):
        cdef Py_ssize_t out = len(pending.parts), writable = len(pending.buffers), i
        if writable > 0xFFFF:
            raise LocalProtocolError(f"{pending.what} has {writable} device-writable buffers")
        if not 0 <= pending.command_id < vof_queue_ids(queue.queue):
            raise LocalProtocolError(
                f"{pending.what} has command id {pending.command_id}, beyond the queue's size"
            )
        self.queue = queue
        self.pending = pending
        self.what = pending.what.encode()
        self.views = <Py_buffer *>calloc(out + writable + 1, sizeof(Py_buffer))
        self.parts = <iovec *>calloc(out + 2 * writable + 1, sizeof(iovec))
        self.lengths = <uint32_t *>calloc(writable + 1, sizeof(uint32_t))
        if not self.views or not self.parts or not self.lengths:
            raise MemoryError
        for i in range(out):
            self._lend(pending.parts[i], PyBUF_SIMPLE)
        for i in range(writable):
            self._lend(pending.buffers[i], PyBUF_WRITABLE)
        self.request.what = self.what
        self.request.out = self.parts
        self.request.out_count = <unsigned>out
        self.request.landing.command_id = pending.command_id
        self.request.landing.first_id = pending.first_id
        self.request.landing.count = <uint16_t>writable
        self.request.landing.tail = <uint32_t>pending.tail
        self.request.landing.writable = self.parts + out
        self.request.landing.fill = self.parts + out + writable
        self.request.landing.lengths = self.lengths
        self.request.timeout = queue._timeout
        self.request.kind = queue._kind_of(pending.what)
        self.request.data_bytes = <uint64_t>pending.data_bytes
        self.request.on_done = _flight_done
        self.request.owner = <void *>self

    cdef _lend(self, buffer, int flags):
        cdef Py_buffer *view = &self.views[self.view_count]
        PyObject_GetBuffer(buffer, view, flags)
        self.parts[self.view_count].iov_base = view.buf
        self.parts[self.view_count].iov_len = <size_t>view.len
        self.view_count += 1

    cdef _give_back(self):
        while self.view_count:
            self.view_count -= 1
            PyBuffer_Release(&self.views[self.view_count])

    cdef complete(self):
        """Tell the pending how the request has ended. The waiter or the engine comes first."""
        cdef vof_landing *landing = &self.request.landing
        pending, self.pending = self.pending, None
        if pending is None:
            return
        self._give_back()
        if self.request.outcome == VOF_ARRIVED:
            completion = Completion(
                landing.completion.status,
                landing.completion.command_id,
                landing.completion.ndesc,
                _RESERVED,
                landing.completion.value,
            )
            pending.arrival = Arrival(
                completion, [landing.lengths[i] for i in range(landing.returned)]
            )
        elif pending.error is None:
            pending.error = self.queue.error
        pending.done = True
        if pending.on_done is not None:
            pending.on_done(pending)

    def __dealloc__(self):
        self._give_back()
        free(self.views)
        free(self.parts)
        free(self.lengths)


cdef class _EngineRequest:
    """A request that has no Pending: lent by a caller of the engine who waits for it."""

    cdef vof_request *request

    @property
    def what(self):
        return self.request.what.decode()

    @property
    def command_id(self):
        return self.request.landing.command_id


cdef void _flight_done(void *owner) noexcept with gil:
    cdef _Flight flight = <_Flight>owner
    flight.complete()
    Py_DECREF(flight)


cdef void _wake(void *waker) noexcept with gil:
    wake = <object>waker
    wake()
    Py_DECREF(wake)


cdef void _on_lost(vof_queue *queue, void *context, vof_request *request) noexcept with gil:
    cdef NativeQueue self = <NativeQueue>context
    cdef _EngineRequest item
    in_flight = []
    while request:
        if request.on_done == _flight_done:
            pending = (<_Flight>request.owner).pending
            pending.deadline = None
            in_flight.append(pending)
        else:
            item = _EngineRequest.__new__(_EngineRequest)
            item.request = request
            in_flight.append(item)
        request = request.next_out
    self._lost(self, self.error, in_flight)


cdef class NativeQueue:
    cdef vof_queue *queue
    cdef int64_t _timeout
    cdef object _given, _found, _lost
    cdef dict _kinds  # what requests are counted as: their names, in the order of the numbers
    cdef readonly str name
    cdef readonly object framing

    def __cinit__(
        self, sock, str name, on_lost, timeout=None, int size=256, framing=Framing.SEGMENTS
    ):
        cdef int fd = sock.detach()
        self.name = name
        self.framing = framing
        self._lost = on_lost
        self._kinds = {name: kind for kind, name in enumerate(_BLOCK_KINDS)}
        self.queue = vof_queue_new(fd, _c_framing(framing), size, _on_lost, <void *>self)
        if not self.queue:
            os.close(fd)
            raise MemoryError
        self.set_timeout(timeout)

    def __dealloc__(self):
        if self.queue:
            vof_queue_free(self.queue)

    @property
    def error(self):
        cdef char text[VOF_REASON_SIZE]
        if vof_queue_failure(self.queue) == VOF_ALIVE:
            return None
        cdef vof_failure failure = vof_queue_reason(self.queue, text)
        if failure == VOF_ALIVE:
            return None
        if failure == VOF_ENDED_HERE:
            return self._given
        if self._found is None:
            reason = (<const char *>text).decode()
            if failure == VOF_VIOLATION:
                self._found = RemoteProtocolError(
                    f"{self.name}: protocol violation by the target: {reason}"
                )
            else:
                self._found = SessionLost(f"{self.name}: connection lost: {reason}")
        return self._found

    def set_timeout(self, timeout):
        self._timeout = _nanoseconds(timeout)
        vof_queue_set_tick(self.queue, <int64_t>(tick_of(timeout) * _NANOSECONDS))

    def accept_refusals_with_buffers(self):
        vof_queue_accept_refusals_with_buffers(self.queue)

    def accept_events(self):
        vof_queue_accept_events(self.queue)

    @property
    def config_changes(self):
        return vof_queue_config_changes(self.queue)

    def resize(self, uint32_t size):
        if not vof_queue_resize(self.queue, size):
            raise MemoryError

    def take_id(self, uint32_t descriptors, *, bint wait):
        cdef int command_id
        with nogil:
            command_id = vof_queue_take_id(self.queue, descriptors, wait)
        return None if command_id < 0 else command_id

    def give_back_id(self, uint16_t command_id, uint32_t descriptors):
        if command_id >= vof_queue_ids(self.queue):
            raise ValueError(f"command id {command_id}")
        vof_queue_give_back_id(self.queue, command_id, descriptors)

    def prepare(self, str what, readable, payload, writable, uint32_t tail=0, *, bint wait=True):
        return stream_requests.prepare(self, what, readable, payload, writable, tail, wait=wait)

    def release(self, pending):
        stream_requests.release(self, pending)

    def prepare_control(self, str what, bytes command):
        return Pending(what, HEAD.unpack_from(command)[1], [command])

    def prepare_connect(self, str what, command, body):
        return stream_requests.prepare_connect(what, command, body)

    def submit(self, pending):
        cdef _Flight flight = _Flight(self, pending)
        cdef vof_request *request = &flight.request
        cdef bint taken
        pending.carrier = flight
        if self._timeout:
            pending.deadline = time.monotonic() + self._timeout / _NANOSECONDS
        Py_INCREF(flight)
        with nogil:
            taken = vof_queue_submit(self.queue, &request, 1)
        if not taken:
            Py_DECREF(flight)
            flight._give_back()
            raise self._ended().again()

    def wait(self, pending):
        cdef _Flight flight = pending.carrier
        cdef bint done = False
        while not done and not pending.done:
            with nogil:
                done = vof_queue_wait(self.queue, &flight.request, True)
            if not done:
                try:
                    PyErr_CheckSignals()
                except BaseException as error:
                    self.give_up(error)
                    # The buffers stay lent until who leads has let go of them.
                    with nogil:
                        vof_queue_wait(self.queue, &flight.request, False)
                    flight.complete()
                    raise
        flight.complete()
        return pending.result()

    def fileno(self):
        return vof_queue_fd(self.queue)

    def lead_or_follow(self, pending, wake):
        cdef _Flight flight = pending.carrier
        cdef bint leads
        Py_INCREF(wake)
        with nogil:
            leads = vof_queue_lead_or_follow(self.queue, &flight.request, _wake, <void *>wake)
        if leads:
            Py_DECREF(wake)
        return leads

    def leads(self, pending):
        cdef _Flight flight = pending.carrier
        cdef bint leads
        with nogil:
            leads = vof_queue_leads(self.queue, &flight.request)
        if not leads:
            # It is done; whoever ended it may not have come to telling the pending.
            flight.complete()
        return leads

    def release_lead(self):
        with nogil:
            vof_queue_release_lead(self.queue)

    def receive_ready(self):
        with nogil:
            vof_queue_receive(self.queue, True)

    def check_deadline(self, pending):
        if pending.deadline is not None and time.monotonic() >= pending.deadline:
            self.expire(pending)

    def expire(self, pending):
        cdef _Flight flight = pending.carrier
        pending.deadline = None
        with nogil:
            vof_queue_expire(self.queue, &flight.request)

    def look(self):
        with nogil:
            vof_queue_look(self.queue)

    def fail(self, error):
        # Without letting another thread in between: who sees the end finds the error, too.
        if vof_queue_end_here(self.queue):
            self._given = error
        with nogil:
            vof_queue_settle(self.queue)

    def give_up(self, error):
        self.fail(
            SessionLost(f"{self.name}: internal error: {type(error).__name__}: {error}")
        )

    def close(self):
        self.fail(SessionLost(f"{self.name}: closed"))

    def settle(self):
        with nogil:
            vof_queue_settle(self.queue)

    def end(self, item, error):
        cdef vof_request *request
        if isinstance(item, Pending):
            item.error = error
            request = &(<_Flight?>item.carrier).request
        else:
            request = (<_EngineRequest?>item).request
        with nogil:
            vof_queue_end(self.queue, request)

    def attach(self, sock):
        cdef int fd = sock.fileno()
        # Kept until the end, so that no code runs between these two.
        errors = self._given, self._found
        if not vof_queue_attach(self.queue, fd):
            raise LocalProtocolError(f"{self.name}: its connection has not ended")
        self._given = self._found = None
        sock.detach()
        del errors

    def resubmit(self, item):
        cdef vof_request *request
        cdef bint taken
        if isinstance(item, Pending):
            request = &(<_Flight?>item.carrier).request
            if request.timeout:
                item.deadline = time.monotonic() + request.timeout / _NANOSECONDS
        else:
            request = (<_EngineRequest?>item).request
        with nogil:
            taken = vof_queue_resubmit(self.queue, request)
        if not taken:
            raise self._ended().again()

    cdef _ended(self):
        """Return what ended the queue when it took no more; it may go on by now."""
        error = self.error
        return SessionLost(f"{self.name}: connection lost") if error is None else error

    cdef uint8_t _kind_of(self, str what) except 255:
        kind = self._kinds.get(what)
        if kind is None:
            kind = len(self._kinds)
            if kind >= VOF_KINDS - 1:
                return VOF_KINDS - 1
            self._kinds[what] = kind
        return kind

    def counts(self):
        cdef vof_count counts[VOF_KINDS]
        vof_queue_counts(self.queue, counts)
        found = {}
        for name, kind in (*self._kinds.items(), (OTHER, VOF_KINDS - 1)):
            if counts[kind].requests:
                found[name] = Count(
                    counts[kind].requests,
                    counts[kind].data_bytes,
                    counts[kind].refused,
                    counts[kind].failed,
                    counts[kind].lost,
                    counts[kind].nanoseconds / _NANOSECONDS,
                    tuple([counts[kind].latencies[i] for i in range(VOF_LATENCY_BUCKETS)]),
                )
        return found

    def count_failed(self, str what):
        vof_queue_count_failed(self.queue, self._kind_of(what))

    def activity(self):
        cdef vof_activity activity
        vof_queue_activity(self.queue, &activity)
        return Activity(
            activity.in_flight,
            activity.leading,
            activity.followers,
            activity.sending,
            activity.waiting_for_room,
        )

    def statistics(self):
        cdef vof_statistics statistics
        vof_queue_statistics(self.queue, &statistics)
        return Statistics(
            statistics.submitted,
            statistics.completed,
            statistics.sends,
            statistics.receives,
            statistics.bytes_sent,
            statistics.bytes_received,
            statistics.led,
            statistics.followed,
        )


cdef class NativeBlock:
    cdef vof_block block
    cdef object _queues, _on_failure, _errno_of
    cdef bint _ready

    def __cinit__(self, queues, geometry, on_failure, timeout=None):
        if not 0 < len(queues) <= VOF_BLOCK_MAX_QUEUES:
            raise ValueError(f"{len(queues)} queues")
        self._queues = tuple(queues)
        self._on_failure = on_failure
        for each in self._queues:
            self.block.queues[self.block.count] = (<NativeQueue?>each).queue
            self.block.count += 1
        self.block.framing = _c_framing(self._queues[0].framing)
        self.block.timeout = _nanoseconds(timeout)
        limits = &self.block.geometry
        limits.size = geometry.size
        limits.block_size = geometry.block_size
        limits.size_max = geometry.size_max
        limits.max_transfer = min(
            geometry.max_transfer, geometry.size_max * VOF_BLOCK_MAX_SEGMENTS
        )
        limits.max_discard = geometry.max_discard
        limits.max_write_zeroes = geometry.max_write_zeroes
        limits.may_unmap = geometry.may_unmap
        limits.can_flush = geometry.can_flush
        limits.read_only = geometry.read_only
        vof_gate_init(&self.block.gate)
        self._ready = True

    def __dealloc__(self):
        if self._ready:
            vof_gate_destroy(&self.block.gate)

    def resize(self, uint64_t size):
        vof_block_resize(&self.block, size)

    def read(self, data, uint64_t offset):
        cdef Py_buffer view
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
        if view.len <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_read(&self.block, view.buf, <uint32_t>view.len, offset, &failed)
        PyBuffer_Release(&view)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def write(self, data, uint64_t offset):
        cdef Py_buffer view
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        if view.len <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_write(
                    &self.block, view.buf, <uint32_t>view.len, offset, &failed
                )
        PyBuffer_Release(&view)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def flush(self):
        cdef vof_failed failed
        cdef vof_result result
        with nogil:
            result = vof_block_flush(&self.block, &failed)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def discard(self, uint64_t offset, uint64_t length):
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        if length <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_discard(&self.block, <uint32_t>length, offset, &failed)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def write_zeroes(self, uint64_t offset, uint64_t length, bint unmap):
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        if length <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_write_zeroes(
                    &self.block, <uint32_t>length, offset, unmap, &failed
                )
        return result == VOF_CARRIED or self._failed(result, &failed)

    cdef bint _failed(self, vof_result result, vof_failed *failed) except -1:
        if result == VOF_DECLINED:
            return False
        self._on_failure(
            failed.what.decode(),
            failed.status if result == VOF_REFUSED else 0,
            failed.status if result == VOF_FAILED else 0 if failed.wanted else None,
            failed.arrived,
            failed.wanted,
        )
        return True

    def enter(self):
        with nogil:
            vof_gate_enter(&self.block.gate)

    def leave(self):
        with nogil:
            vof_gate_leave(&self.block.gate)

    def enter_alone(self):
        with nogil:
            vof_gate_enter_alone(&self.block.gate)

    def leave_alone(self):
        with nogil:
            vof_gate_leave_alone(&self.block.gate)

    def lend(self, errno_of):
        """Let nbdkit-vof-filter, if it is in this process, carry requests for what is being opened
        in this thread. ``errno_of(error, zero)`` is the errno map of that edge."""
        cdef int *abi = <int *>dlsym(RTLD_DEFAULT, b"nbdkit_vof_filter_abi")
        cdef vof_fast_path_lend *lend
        cdef vof_fast_path path
        if not abi:
            return False
        lend = <vof_fast_path_lend *>dlsym(RTLD_DEFAULT, b"nbdkit_vof_filter_lend")
        if abi[0] != VOF_FAST_PATH_ABI or not lend:
            raise ConfigError(
                "the nbdkit filter in use was built for another version of vof; make it anew with "
                "'vofctl filter install', or use --filter=$(vofctl filter path)"
            )
        self._errno_of = errno_of
        path.device = <void *>self
        path.pread = _fast_pread
        path.pwrite = _fast_pwrite
        path.flush = _fast_flush
        path.trim = _fast_trim
        path.zero = _fast_zero
        lend(&path)
        return True

    def load(self, unsigned queue, plan):
        """Run a load on one queue; return (requests, bytes, errors, seconds, latency buckets)."""
        cdef vof_load_plan c_plan
        cdef vof_load_result result
        cdef bint ran
        if not queue < self.block.count:
            raise IndexError(queue)
        if not 0 < plan.depth <= VOF_LOAD_MAX_DEPTH:
            raise ValueError(f"depth {plan.depth}: 1 to {VOF_LOAD_MAX_DEPTH} are possible")
        c_plan.write = plan.write
        c_plan.random = plan.random
        c_plan.block_size = plan.block_size
        c_plan.depth = plan.depth
        c_plan.duration = _nanoseconds(plan.seconds)
        c_plan.seed = plan.seed
        with nogil:
            ran = vof_load_run(&self.block, queue, &c_plan, &result)
        if not ran:
            raise MemoryError
        buckets = [result.latencies[i] for i in range(VOF_LOAD_BUCKETS)]
        seconds = result.duration / _NANOSECONDS
        return result.requests, result.bytes, result.errors, seconds, buckets


# What is lent to nbdkit's filter. The device is the NativeBlock, which the export keeps.

cdef vof_block *_block_of(void *device) noexcept nogil:
    return &(<NativeBlock>device).block


cdef int _fast(
    void *device, vof_result result, vof_failed *failed, vof_fast_error *error, bint zero
) noexcept nogil:
    if result == VOF_CARRIED:
        return VOF_FAST_DONE
    if result == VOF_DECLINED:
        return VOF_FAST_DECLINED
    return _explain(<NativeBlock>device, result, failed, error, zero)


cdef int _explain(
    NativeBlock block, vof_result result, vof_failed *failed, vof_fast_error *error, bint zero
) noexcept with gil:
    """Have Python say what became of a request, as it does for its own."""
    error.number = EIO
    error.text[0] = 0
    # Whatever happens here must not look like success, which is what leaving by an exception does.
    try:
        try:
            block._failed(result, failed)
        except Exception as problem:
            error.number = block._errno_of(problem, zero)
            text = str(problem).encode("utf-8", "backslashreplace")[: sizeof(error.text) - 1]
            memcpy(error.text, <const char *>text, len(text))
            error.text[len(text)] = 0
    except BaseException:
        error.number = EIO
    return VOF_FAST_FAILED


cdef int _fast_pread(
    void *device, void *data, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_read(_block_of(device), data, count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_pwrite(
    void *device, const void *data, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_write(_block_of(device), data, count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_flush(void *device, vof_fast_error *error) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_flush(_block_of(device), &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_trim(
    void *device, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_discard(_block_of(device), count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_zero(
    void *device, uint32_t count, uint64_t offset, int may_trim, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_write_zeroes(
        _block_of(device), count, offset, may_trim, &failed
    )
    return _fast(device, result, &failed, error, True)
