# SPDX-License-Identifier: BSD-3-Clause
# What is in flight: a request of C for a Pending or of another caller. Part of native.pyx.

cdef class _Flight:
    """A Pending's request while the queue has it, and the buffers lent with it."""

    cdef vofi_request request
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
                (<uint16_t>landing.completion.rsvd).to_bytes(2, "little"),
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

    cdef vofi_request *request

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
