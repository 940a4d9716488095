// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "target/stream/queue_state.h"

/* Bytes of a write that the receiving thread makes itself, if it is a quick one. */
enum { QUICK_WRITE = 1 << 16 };

/* Execute the command that came last in another thread, or `here`, or where none can be had. */
static int dispatch(struct vof_served_queue *queue, const struct voft_request *request, bool here)
{
    struct vof_task *task;
    int error;

    if (!vof_tasks_make(queue))
        return ENOMEM;
    while (!queue->free_tasks) {
        error = vof_outbox_flush(&queue->outbox);
        if (!error)
            error = vof_await(queue, false);
        if (error)
            return error;
    }
    task = vof_task_begin(queue, request);
    if (!task)
        return ENOMEM;
    here |= queue->setup.width == 1;
    if (!here && queue->returns.wake < 0) {
        queue->returns.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        here = queue->returns.wake < 0;
    }
    if (!here) {
        if (!vof_task_keep_payload(queue, task)) {
            vof_task_end(queue, task);
            return ENOMEM;
        }
        if (vof_task_submit(task)) {
            vof_busy(queue, 1);
            return 0;
        }
    }
    vof_task_run(task);
    return vof_task_complete(queue, task);
}

/* Whether a request can be executed at once, by the thread that receives: it takes no longer than
 * the copying of its data, or order is wanted. A read is tried instead. */
static bool is_quick(const struct vof_served_queue *queue, const struct voft_request *request)
{
    struct vof_store *store = &queue->setup.device->store;

    if (queue->setup.width == 1)
        return true;
    switch (request->action) {
    case VOF_REFUSE:
        return true;
    case VOF_READ:
        return store->always_quick;
    case VOF_WRITE:
        return request->length <= QUICK_WRITE &&
               vof_store_quick_write(store, request->length, request->offset, request->persist);
    case VOF_FLUSH:
        return store->memory != NULL;
    default:
        return false;
    }
}

/* Answer a large read out of the memory that the disk is. */
static int send_memory(struct vof_served_queue *queue, const struct voft_request *request)
{
    uint8_t status = VOF_BLK_S_OK;
    struct iovec pieces[2] = {
        {queue->setup.device->store.memory + request->offset, request->length},
        {&status, sizeof status},
    };
    int error = vof_add_head(queue);

    vof_count_quick(queue, request, false);
    return error ? error : vof_outbox_send(&queue->outbox, pieces, 2, false);
}

/* Execute a request whose answer is gathered with others; `done` says whether it was. */
static int execute_gathered(struct vof_served_queue *queue, const struct voft_request *request,
                            bool *done)
{
    struct vof_device *device = queue->setup.device;
    const struct vof_command *command = &queue->intake.command;
    enum vof_framing framing = queue->setup.stream.framing;
    size_t head_size = vof_completion_head_size(framing, command);
    size_t size = head_size + command->writable;
    bool failed = false;
    int error;
    uint8_t *place = vof_outbox_room(&queue->outbox, size, &error);

    if (!place)
        return error;
    if (is_quick(queue, request)) {
        error = vof_execute(device, request, place + head_size, command->writable);
        vof_note_failure(queue, request, error);
        failed = error || request->action == VOF_REFUSE;
    } else if (request->action == VOF_READ) {
        if (vof_store_read_now(&device->store, place + head_size, request->length, request->offset))
            return 0;
        place[size - 1] = VOF_BLK_S_OK;
    } else {
        return 0;
    }
    vof_put_completion_head(place, framing, command, queue->intake.segments);
    vof_outbox_add(&queue->outbox, size);
    vof_id_finish(queue, command->command_id);
    vof_count_quick(queue, request, failed);
    *done = true;
    return 0;
}

int vof_served_queue_execute(struct vof_served_queue *queue, struct vof_report *report)
{
    const struct vof_command *command = &queue->intake.command;
    struct vof_device *device = queue->setup.device;
    uint32_t rules = atomic_load_explicit(queue->setup.rules, memory_order_relaxed);
    uint64_t capacity = atomic_load_explicit(&device->capacity, memory_order_relaxed);
    struct voft_request request;
    bool done = false;
    int error = 0;

    if (!voft_check_request(&device->limits, capacity, rules, queue->intake.payload,
                            command->readable, command->writable, &request, &report->fault))
        return VOF_EVENT_VIOLATION;
    if (request.action == VOF_ELSEWHERE) {
        report->command = command;
        report->payload = queue->intake.payload;
        return VOF_EVENT_REQUEST;
    }
    if (vof_completion_head_size(queue->setup.stream.framing, command) + command->writable <=
        VOF_GATHERED)
        error = execute_gathered(queue, &request, &done);
    else if (request.action == VOF_READ && device->store.memory) {
        error = send_memory(queue, &request);
        done = true;
    }
    if (!error && !done)
        error = dispatch(queue, &request, is_quick(queue, &request));
    return error ? vof_fail(report, error) : VOF_GO_ON;
}

