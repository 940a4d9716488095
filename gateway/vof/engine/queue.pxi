# SPDX-License-Identifier: BSD-3-Clause
# A queue of C as fabric.interface.Queue. Part of native.pyx.

cdef void _wake(void *waker) noexcept with gil:
    wake = <object>waker
    wake()
    Py_DECREF(wake)


cdef void _on_lost(vof_queue *queue, void *context, vofi_request *request) noexcept with gil:
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


cdef vof_transport *_transport_over(sock) except NULL:
    cdef vof_transport *transport = vof_tcp_new(sock.fileno())
    if not transport:
        raise MemoryError
    return transport


cdef class NativeQueue:
    cdef vof_queue *queue
    cdef int64_t _timeout
    cdef object _given, _found, _lost
    cdef dict _kinds  # what requests are counted as: their names, in the order of the numbers
    cdef readonly str name
    cdef readonly object framing

    def __cinit__(
        self, sock, str name, on_lost, timeout=None, int size=256, framing=Framing.CHAINS
    ):
        cdef vof_transport *transport = _transport_over(sock)
        self.name = name
        self.framing = framing
        self._lost = on_lost
        self._kinds = {name: kind for kind, name in enumerate(_BLOCK_KINDS)}
        self.queue = vof_queue_new(transport, _c_framing(framing), size, _on_lost, <void *>self)
        if not self.queue:
            vof_tcp_leave(transport)
            raise MemoryError
        sock.detach()
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
                kind = NoAnswer if failure == VOF_NO_ANSWER else SessionLost
                self._found = kind(f"{self.name}: connection lost: {reason}")
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

    def take_id(self, uint32_t room, *, bint wait):
        cdef int command_id
        with nogil:
            command_id = vof_queue_take_id(self.queue, room, wait)
        return None if command_id < 0 else command_id

    def give_back_id(self, uint16_t command_id, uint32_t room):
        if command_id >= vof_queue_ids(self.queue):
            raise ValueError(f"command id {command_id}")
        vof_queue_give_back_id(self.queue, command_id, room)

    def prepare(
        self, str what, readable, payload, writable, uint32_t tail=0, *, bint wait=True,
        bint counted=False
    ):
        return stream_requests.prepare(self, what, readable, payload, writable, tail, wait=wait)

    def release(self, pending):
        stream_requests.release(self, pending)

    def prepare_control(self, str what, bytes command):
        return Pending(what, HEAD.unpack_from(command)[1], [command])

    def prepare_connect(self, str what, connect, names):
        return stream_requests.prepare_connect(what, connect, names)

    def submit(self, pending):
        cdef _Flight flight = _Flight(self, pending)
        cdef vofi_request *request = &flight.request
        cdef bint taken
        pending.carriage = flight
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
        cdef _Flight flight = pending.carriage
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
        cdef _Flight flight = pending.carriage
        cdef bint leads
        Py_INCREF(wake)
        with nogil:
            leads = vof_queue_lead_or_follow(self.queue, &flight.request, _wake, <void *>wake)
        if leads:
            Py_DECREF(wake)
        return leads

    def leads(self, pending):
        cdef _Flight flight = pending.carriage
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
        cdef _Flight flight = pending.carriage
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
        cdef vofi_request *request
        if isinstance(item, Pending):
            item.error = error
            request = &(<_Flight?>item.carriage).request
        else:
            request = (<_EngineRequest?>item).request
        with nogil:
            vof_queue_end(self.queue, request)

    def attach(self, sock):
        cdef vof_transport *transport = _transport_over(sock)
        # Kept until the end, so that no code runs between these two.
        errors = self._given, self._found
        if not vof_queue_attach(self.queue, transport):
            vof_tcp_leave(transport)
            raise LocalProtocolError(f"{self.name}: its connection has not ended")
        self._given = self._found = None
        sock.detach()
        del errors

    def resubmit(self, item):
        cdef vofi_request *request
        cdef bint taken
        if isinstance(item, Pending):
            request = &(<_Flight?>item.carriage).request
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
