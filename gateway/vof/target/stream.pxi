# SPDX-License-Identifier: BSD-3-Clause
# A part of native.pyx: virtqueues served over a stream, and the framing alone.

_FRAMINGS = {
    Framing.CHAINS: <int>VOF_FRAMING_CHAINS,
    Framing.SEGMENTS: <int>VOF_FRAMING_SEGMENTS,
    Framing.LENGTHS: <int>VOF_FRAMING_LENGTHS,
}
RECEIVE_SIZE = <int>VOF_RECEIVE_SIZE
OUTBOX_SIZE = <int>VOF_OUTBOX_SIZE

# What requests are counted as, in the order of C.
_KINDS = (
    "VIRTIO_BLK_T_IN", "VIRTIO_BLK_T_OUT", "VIRTIO_BLK_T_FLUSH", "VIRTIO_BLK_T_DISCARD",
    "VIRTIO_BLK_T_WRITE_ZEROES", OTHER,
)
assert len(_KINDS) == VOF_SERVED_KINDS


cdef raise_fault(const vof_stream_rules *rules, const vof_fault *fault):
    cdef char[VOF_FAULT_TEXT_SIZE] text
    vof_describe_fault(rules, fault, text)
    raise RemoteProtocolError((<bytes>text).decode("ascii"))


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
            return NativeRequest(payload, report.command.writable)
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
