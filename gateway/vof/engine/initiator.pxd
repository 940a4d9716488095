# SPDX-License-Identifier: BSD-3-Clause
# The C of gateway/native/initiator, as native.pyx and its parts use it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "wire.h" nogil:
    enum vof_framing:
        VOF_FRAMING_CHAINS
        VOF_FRAMING_SEGMENTS
        VOF_FRAMING_LENGTHS

    struct vof_completion:
        uint16_t status
        uint16_t command_id
        uint16_t ndesc
        uint16_t rsvd
        uint64_t value


cdef extern from "counts.h" nogil:
    enum:
        VOF_LATENCY_BUCKETS

    struct vof_count:
        uint64_t requests
        uint64_t data_bytes
        uint64_t refused
        uint64_t failed
        uint64_t lost
        uint64_t nanoseconds
        uint64_t *latencies


cdef extern from "initiator/completion_parser.h" nogil:
    struct vof_landing:
        uint16_t command_id
        uint16_t first_id
        uint16_t count
        uint32_t tail
        iovec *writable
        uint32_t *lengths
        iovec *fill
        uint16_t returned
        vof_completion completion


cdef extern from "initiator/request.h" nogil:
    struct vof_queue:
        pass

    enum vof_outcome:
        VOF_IN_FLIGHT
        VOF_ARRIVED
        VOF_LOST

    struct vofi_request:
        const char *what
        iovec *out
        unsigned out_count
        vof_landing landing
        int64_t timeout
        uint8_t kind
        uint64_t data_bytes
        void (*on_done)(void *owner) noexcept nogil
        void *owner
        vof_outcome outcome
        vofi_request *next_out


cdef extern from "initiator/tcp.h" nogil:
    struct vof_transport:
        pass

    vof_transport *vof_tcp_new(int fd)
    void vof_tcp_leave(vof_transport *transport)


cdef extern from "initiator/room.h" nogil:
    int vof_queue_take_id(vof_queue *queue, uint32_t room, bint wait)
    void vof_queue_give_back_id(vof_queue *queue, uint16_t id, uint32_t room)
    bint vof_queue_resize(vof_queue *queue, uint32_t size)
    uint32_t vof_queue_ids(vof_queue *queue)


cdef extern from "initiator/lead.h" nogil:
    bint vof_queue_lead_or_follow(vof_queue *queue, vofi_request *request,
                                  void (*wake)(void *) noexcept, void *waker)


cdef extern from "initiator/ending.h" nogil:
    enum vof_failure:
        VOF_ALIVE
        VOF_CONNECTION_LOST
        VOF_NO_ANSWER
        VOF_VIOLATION
        VOF_ENDED_HERE

    enum:
        VOF_REASON_SIZE

    vof_failure vof_queue_failure(vof_queue *queue)
    vof_failure vof_queue_reason(vof_queue *queue, char *reason)
    bint vof_queue_end_here(vof_queue *queue)
    void vof_queue_settle(vof_queue *queue)
    void vof_queue_release_lead(vof_queue *queue)


cdef extern from "initiator/handover.h" nogil:
    ctypedef void vof_on_lost(vof_queue *queue, void *context, vofi_request *in_flight) noexcept

    void vof_queue_end(vof_queue *queue, vofi_request *request)
    bint vof_queue_attach(vof_queue *queue, vof_transport *transport)
    bint vof_queue_resubmit(vof_queue *queue, vofi_request *request)


cdef extern from "initiator/deadlines.h" nogil:
    void vof_queue_expire(vof_queue *queue, vofi_request *request)


cdef extern from "initiator/round.h" nogil:
    bint vof_queue_receive(vof_queue *queue, bint nonblocking)
    void vof_queue_look(vof_queue *queue)


cdef extern from "initiator/waiting.h" nogil:
    bint vof_queue_wait(vof_queue *queue, vofi_request *request, bint interruptible)
    bint vof_queue_leads(vof_queue *queue, vofi_request *request)


cdef extern from "initiator/sending.h" nogil:
    bint vof_queue_submit(vof_queue *queue, vofi_request **requests, unsigned count)


cdef extern from "initiator/statistics.h" nogil:
    enum:
        VOF_KINDS

    struct vof_statistics:
        uint64_t submitted
        uint64_t completed
        uint64_t sends
        uint64_t receives
        uint64_t bytes_sent
        uint64_t bytes_received
        uint64_t led
        uint64_t followed

    struct vof_activity:
        uint64_t in_flight
        unsigned followers
        unsigned waiting_for_room
        bint leading
        bint sending

    void vof_queue_activity(vof_queue *queue, vof_activity *activity)
    void vof_queue_statistics(vof_queue *queue, vof_statistics *statistics)
    void vof_queue_counts(vof_queue *queue, vof_count *counts)
    void vof_queue_count_failed(vof_queue *queue, uint8_t kind)


cdef extern from "initiator/queue.h" nogil:
    vof_queue *vof_queue_new(vof_transport *transport, vof_framing framing, uint16_t size,
                             vof_on_lost *on_lost, void *context)
    void vof_queue_free(vof_queue *queue)
    void vof_queue_accept_refusals_with_buffers(vof_queue *queue)
    void vof_queue_accept_events(vof_queue *queue)
    uint64_t vof_queue_config_changes(const vof_queue *queue)
    void vof_queue_set_tick(vof_queue *queue, int64_t nanoseconds)
    int vof_queue_fd(const vof_queue *queue)


cdef extern from "initiator/gate.h" nogil:
    struct vof_gate:
        pass

    void vof_gate_init(vof_gate *gate)
    void vof_gate_destroy(vof_gate *gate)
    void vof_gate_enter(vof_gate *gate)
    void vof_gate_leave(vof_gate *gate)
    void vof_gate_enter_alone(vof_gate *gate)
    void vof_gate_leave_alone(vof_gate *gate)


cdef extern from "initiator/block.h" nogil:
    enum:
        VOF_BLOCK_MAX_QUEUES
        VOF_BLOCK_MAX_SEGMENTS
        VOF_BLOCK_KINDS

    const char *vof_block_kind_name(unsigned kind)

    struct vof_geometry:
        uint64_t size
        uint32_t block_size
        uint32_t size_max
        uint64_t max_transfer
        uint64_t max_discard
        uint64_t max_write_zeroes
        bint may_unmap
        bint can_flush
        bint read_only

    struct vof_block:
        vof_geometry geometry
        vof_queue **queues
        unsigned count
        vof_framing framing
        int64_t timeout
        vof_gate gate

    void vof_block_resize(vof_block *block, uint64_t size)

    enum vof_result:
        VOF_CARRIED
        VOF_DECLINED
        VOF_REFUSED
        VOF_FAILED
        VOF_BROKEN

    struct vof_failed:
        const char *what
        unsigned status
        uint64_t arrived
        uint64_t wanted

    vof_result vof_block_read(vof_block *block, void *data, uint32_t length, uint64_t offset,
                              vof_failed *failed)
    vof_result vof_block_write(vof_block *block, const void *data, uint32_t length,
                               uint64_t offset, vof_failed *failed)
    vof_result vof_block_flush(vof_block *block, vof_failed *failed)
    vof_result vof_block_discard(vof_block *block, uint32_t length, uint64_t offset,
                                 vof_failed *failed)
    vof_result vof_block_write_zeroes(vof_block *block, uint32_t length, uint64_t offset,
                                      bint unmap, vof_failed *failed)


cdef extern from "initiator/load.h" nogil:
    enum:
        VOF_LOAD_MAX_DEPTH
        VOF_LOAD_BUCKETS

    struct vof_load_plan:
        bint write
        bint random
        uint32_t block_size
        unsigned depth
        int64_t duration
        uint64_t seed

    struct vof_load_result:
        uint64_t requests
        uint64_t bytes
        uint64_t errors
        int64_t duration
        uint64_t latencies[512]

    bint vof_load_run(vof_block *block, unsigned queue, const vof_load_plan *plan,
                      vof_load_result *result)


cdef extern from "initiator/fast_path.h" nogil:
    enum:
        VOF_FAST_PATH_ABI
        VOF_FAST_DONE
        VOF_FAST_DECLINED
        VOF_FAST_FAILED

    struct vof_fast_error:
        int number
        char text[256]

    struct vof_fast_path:
        void *device
        int (*pread)(void *, void *, uint32_t, uint64_t, vof_fast_error *) noexcept nogil
        int (*pwrite)(void *, const void *, uint32_t, uint64_t, vof_fast_error *) noexcept nogil
        int (*flush)(void *, vof_fast_error *) noexcept nogil
        int (*trim)(void *, uint32_t, uint64_t, vof_fast_error *) noexcept nogil
        int (*zero)(void *, uint32_t, uint64_t, int, vof_fast_error *) noexcept nogil

    ctypedef void vof_fast_path_lend(const vof_fast_path *path) noexcept


cdef extern from "dlfcn.h" nogil:
    void *RTLD_DEFAULT
    void *dlsym(void *handle, const char *symbol)
