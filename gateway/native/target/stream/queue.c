// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "target/stream/queue_state.h"

enum { IDLE_SECONDS = 2 }; /* after which a queue keeps no memory */

static int accept_command(struct vof_served_queue *queue, struct vof_report *report)
{
    const struct vof_command *command = &queue->intake.command;

    if (vof_id_in_flight(queue, command->command_id))
        return vof_violate(report, VOF_COMMAND_ID_IN_FLIGHT, command->command_id);
    vof_id_begin(queue, command->command_id);
    if (command->opcode == vof_request_opcode(queue->setup.stream.framing)) {
        if (queue->setup.depth && queue->in_flight > queue->setup.depth) {
            int error = vof_refuse(queue, VOF_STATUS_TOO_MANY);
            return error ? vof_fail(report, error) : VOF_GO_ON;
        }
        return vof_served_queue_execute(queue, report);
    }
    report->command = command;
    report->payload = NULL;
    vof_id_finish(queue, command->command_id); /* Python answers before anything else happens */
    return VOF_EVENT_CONTROL;
}

/* Keep no memory while nothing comes. */
static void rest(struct vof_served_queue *queue)
{
    if (!vof_intake_idle(&queue->intake))
        return;
    vof_stash_empty(&queue->stash);
    free(queue->tasks);
    queue->tasks = NULL;
    queue->free_tasks = NULL;
    if (queue->returns.wake >= 0) {
        close(queue->returns.wake);
        queue->returns.wake = -1;
    }
    /* No id is in flight, and no byte held: zeros are as good. */
    madvise(queue->area, sizeof *queue->area, MADV_DONTNEED);
}

static int receive(struct vof_served_queue *queue)
{
    struct iovec pieces[2];
    struct msghdr message = {.msg_iov = pieces};
    ssize_t count;

    if (queue->busy) {
        struct pollfd wanted = {queue->setup.fd, POLLIN, 0};
        int error = vof_await(queue, true);
        /* Another look, which is quick, keeps the two ways to get here apart. */
        if (error || poll(&wanted, 1, 0) <= 0)
            return error;
        /* What was completed meanwhile has to be out before its ids may come again. */
        error = vof_outbox_flush(&queue->outbox);
        if (error)
            return error;
    }
    vof_ids_end(queue);
    message.msg_iovlen = (size_t)vof_intake_space(&queue->intake, pieces);
    count = recvmsg(queue->setup.fd, &message, 0);
    if (count > 0) {
        queue->received_at = vof_now();
        vof_intake_advance(&queue->intake, (size_t)count);
        return 0;
    }
    if (!count) {
        queue->over = true;
        return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) { /* SO_RCVTIMEO */
        struct pollfd wanted = {queue->setup.fd, POLLIN, 0};
        rest(queue);
        return poll(&wanted, 1, -1) < 0 && errno != EINTR ? errno : 0;
    }
    return errno == EINTR ? 0 : errno;
}

static bool overdue(const struct vof_served_queue *queue)
{
    int64_t deadline = atomic_load(&queue->deadline);
    return deadline && vof_now() > deadline;
}

/* Everything whole that was received is in progress or answered: get more. */
static int go_on_receiving(struct vof_served_queue *queue, struct vof_report *report)
{
    int error = vof_outbox_flush(&queue->outbox);

    vof_count_sent(queue);
    if (!error) {
        if (queue->over || overdue(queue)) {
            if (!queue->busy)
                return VOF_EVENT_END;
            error = vof_await(queue, false);
        } else {
            error = receive(queue);
        }
    }
    return error ? vof_fail(report, error) : VOF_GO_ON;
}

enum vof_event vof_served_queue_serve(struct vof_served_queue *queue, struct vof_report *report)
{
    int event = VOF_GO_ON;

    while (event == VOF_GO_ON) {
        int error = vof_collect(queue);
        if (error)
            return (enum vof_event)vof_fail(report, error);
        if (queue->failures.count) {
            report->count = queue->failures.count;
            report->type = queue->failures.type;
            report->sector = queue->failures.sector;
            report->error = queue->failures.error;
            queue->failures.count = 0;
            return VOF_EVENT_DISK_ERROR;
        }
        if (atomic_load_explicit(&queue->stop, memory_order_relaxed))
            return VOF_EVENT_END;
        switch (vof_intake_next(&queue->intake, &report->fault)) {
        case VOF_INTAKE_MORE:
            event = go_on_receiving(queue, report);
            break;
        case VOF_INTAKE_COMMAND:
            event = accept_command(queue, report);
            break;
        case VOF_INTAKE_VIOLATION:
            event = VOF_EVENT_VIOLATION;
            break;
        case VOF_INTAKE_NO_MEMORY:
            event = vof_fail(report, ENOMEM);
            break;
        }
    }
    return (enum vof_event)event;
}

void vof_served_queue_stop(struct vof_served_queue *queue)
{
    atomic_store(&queue->stop, true);
}

void vof_served_queue_finish(struct vof_served_queue *queue, double seconds)
{
    atomic_store(&queue->deadline, vof_now() + (int64_t)(seconds * 1e9));
}

static bool good(const struct vof_served_queue_setup *setup)
{
    return vof_stream_rules_good(&setup->stream) && setup->width >= 1 &&
           setup->width <= VOF_MAX_WIDTH;
}

struct vof_served_queue *vof_served_queue_open(const struct vof_served_queue_setup *setup)
{
    struct timeval idle = {IDLE_SECONDS, 0};
    struct vof_served_queue *queue;
    void *area;

    if (!good(setup))
        return NULL;
    queue = calloc(1, sizeof *queue);
    if (!queue)
        return NULL;
    area = mmap(NULL, sizeof *queue->area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0);
    if (area == MAP_FAILED) {
        free(queue);
        return NULL;
    }
    queue->setup = *setup;
    queue->area = area;
    queue->stash.largest = setup->largest_kept;
    queue->stash.keep = setup->width;
    queue->outbox.fd = setup->fd;
    queue->outbox.bytes = queue->area->outgoing;
    vof_intake_begin(&queue->intake, &queue->setup.stream, &queue->stash, queue->area->received);
    vof_returns_open(&queue->returns);
    setsockopt(setup->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    return queue;
}

void vof_served_queue_close(struct vof_served_queue *queue)
{
    while (queue->busy) {
        struct vof_task *task = vof_task_collect(&queue->returns, true);
        if (task) {
            vof_busy(queue, -1);
            vof_pipe_give(&task->device->pipes, &task->pipe, false);
            vof_task_end(queue, task);
        } else {
            struct pollfd wanted = {queue->returns.wake, POLLIN, 0};
            uint64_t count;
            if (poll(&wanted, 1, -1) > 0 && read(queue->returns.wake, &count, sizeof count) < 0)
                continue;
        }
    }
    vof_intake_end(&queue->intake);
    vof_stash_empty(&queue->stash);
    vof_returns_close(&queue->returns);
    munmap(queue->area, sizeof *queue->area);
    free(queue->tasks);
    free(queue);
}
