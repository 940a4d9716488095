// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target/stream/queue_state.h"

/* A read from this size on goes through a pipe, if it is from a file. */
enum { PIPED_READ = 1 << 17 };

void vof_ids_end(struct vof_served_queue *queue)
{
    for (uint32_t i = 0; i < queue->finished; i++) {
        uint16_t id = queue->area->finished[i];
        queue->area->in_flight[id / 8] &= (uint8_t)~(1 << id % 8);
    }
    queue->in_flight -= queue->finished;
    queue->finished = 0;
}

void vof_id_finish(struct vof_served_queue *queue, uint16_t id)
{
    if (queue->finished == VOF_MOST_FINISHED)
        vof_ids_end(queue);
    queue->area->finished[queue->finished++] = id;
}

bool vof_tasks_make(struct vof_served_queue *queue)
{
    uint32_t width = queue->setup.width;

    if (queue->tasks)
        return true;
    queue->tasks = calloc(width, sizeof *queue->tasks);
    if (!queue->tasks)
        return false;
    for (uint32_t i = 0; i < width; i++) {
        queue->tasks[i].pipe.out = -1;
        queue->tasks[i].next = queue->free_tasks;
        queue->free_tasks = &queue->tasks[i];
    }
    return true;
}

void vof_task_end(struct vof_served_queue *queue, struct vof_task *task)
{
    vof_buffer_give(&queue->stash, &task->payload);
    vof_buffer_give(&queue->stash, &task->room);
    vof_pipe_give(&queue->setup.device->pipes, &task->pipe, true);
    task->next = queue->free_tasks;
    queue->free_tasks = task;
}

/* Give a task room for its answer, in which its head is moved. */
static bool make_room(struct vof_served_queue *queue, struct vof_task *task, size_t size)
{
    task->answer = task->small;
    if (size <= sizeof task->small)
        return true;
    if (!vof_buffer_take(&queue->stash, size, &task->room))
        return false;
    task->answer = task->room.data;
    return true;
}

struct vof_task *vof_task_begin(struct vof_served_queue *queue, const struct voft_request *request)
{
    const struct vof_command *command = &queue->intake.command;
    enum vof_framing framing = queue->setup.stream.framing;
    struct vof_task *task = queue->free_tasks;
    size_t answer;

    queue->free_tasks = task->next;
    task->device = queue->setup.device;
    task->returns = &queue->returns;
    task->request = *request;
    task->head_size = vof_completion_head_size(framing, command);
    task->writable = command->writable;
    task->command_id = command->command_id;
    task->received_at = queue->received_at;
    task->error = 0;
    task->again = false;
    if (request->action == VOF_READ && request->length >= PIPED_READ && task->device->store.piped)
        task->pipe = vof_pipe_take(&task->device->pipes, request->length, request->offset);
    answer = task->head_size + (task->pipe.out < 0 ? command->writable : 1);
    if (!make_room(queue, task, answer)) {
        vof_task_end(queue, task);
        return NULL;
    }
    vof_put_completion_head(task->answer, framing, command, queue->intake.segments);
    return task;
}

bool vof_task_keep_payload(struct vof_served_queue *queue, struct vof_task *task)
{
    struct voft_request *request = &task->request;

    task->payload = vof_intake_keep_payload(&queue->intake);
    if (task->payload.data || !request->data_size)
        return true;
    if (!vof_buffer_take(&queue->stash, request->data_size, &task->payload))
        return false;
    memcpy(task->payload.data, request->data, request->data_size);
    request->data = task->payload.data; /* the receive buffer is used again */
    return true;
}

static int send_piped(struct vof_served_queue *queue, struct vof_task *task)
{
    uint8_t *place;
    int error = vof_served_queue_send(queue, task->answer, task->head_size);

    if (!error)
        error = vof_outbox_splice(&queue->outbox, task->pipe.out, task->request.length);
    if (error) {
        vof_pipe_give(&task->device->pipes, &task->pipe, false);
        return error;
    }
    place = vof_outbox_room(&queue->outbox, 1, &error);
    if (!place)
        return error;
    *place = task->answer[task->head_size];
    vof_outbox_add(&queue->outbox, 1);
    return 0;
}

static int send_answer(struct vof_served_queue *queue, struct vof_task *task)
{
    if (task->pipe.out >= 0)
        return send_piped(queue, task);
    return vof_served_queue_send(queue, task->answer, task->head_size + task->writable);
}

void vof_note_failure(struct vof_served_queue *queue, const struct voft_request *request, int error)
{
    if (!error || queue->failures.count++)
        return;
    queue->failures.type = request->type;
    queue->failures.sector = request->sector;
    queue->failures.error = error;
}

/* Give up the pipe of a task: its request is to be executed without one. */
static bool without_pipe(struct vof_served_queue *queue, struct vof_task *task)
{
    struct vof_buffer old = task->room; /* has the head, unless `small` does */
    const uint8_t *head = task->answer;
    bool good;

    vof_pipe_give(&task->device->pipes, &task->pipe, false);
    task->again = false;
    task->room.data = NULL;
    good = make_room(queue, task, task->head_size + task->writable);
    if (good && task->answer != head)
        memcpy(task->answer, head, task->head_size);
    vof_buffer_give(&queue->stash, &old);
    return good;
}

int vof_task_complete(struct vof_served_queue *queue, struct vof_task *task)
{
    int error;

    if (task->again) {
        if (!without_pipe(queue, task)) {
            vof_task_end(queue, task);
            return ENOMEM;
        }
        if (queue->returns.wake >= 0 && vof_task_submit(task)) {
            vof_busy(queue, 1);
            return 0;
        }
        vof_task_run(task);
    }
    vof_id_finish(queue, task->command_id);
    vof_note_failure(queue, &task->request, task->error);
    error = send_answer(queue, task);
    vof_count_task(queue, task);
    vof_task_end(queue, task);
    return error;
}

int vof_collect(struct vof_served_queue *queue)
{
    while (queue->busy) {
        struct vof_task *task = vof_task_collect(&queue->returns, false);
        int error;
        if (!task)
            break;
        vof_busy(queue, -1);
        error = vof_task_complete(queue, task);
        if (error)
            return error;
    }
    return 0;
}

int vof_await(struct vof_served_queue *queue, bool or_socket)
{
    struct pollfd wanted[2] = {{queue->returns.wake, POLLIN, 0}, {queue->setup.fd, POLLIN, 0}};
    struct vof_task *task = vof_task_collect(&queue->returns, true);
    uint64_t count;

    if (task) {
        vof_busy(queue, -1);
        return vof_task_complete(queue, task);
    }
    if (poll(wanted, or_socket ? 2 : 1, -1) < 0)
        return errno == EINTR ? 0 : errno;
    /* The counter may tell of a task that was collected before: then this was one look too many. */
    if (wanted[0].revents && read(queue->returns.wake, &count, sizeof count) < 0 && errno != EAGAIN)
        return errno;
    return vof_collect(queue);
}

int vof_served_queue_send(struct vof_served_queue *queue, const uint8_t *data, size_t size)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};
    uint8_t *place;
    int error;

    if (size > VOF_GATHERED)
        return vof_outbox_send(&queue->outbox, &piece, 1, false);
    place = vof_outbox_room(&queue->outbox, size, &error);
    if (!place)
        return error;
    memcpy(place, data, size);
    vof_outbox_add(&queue->outbox, size);
    return 0;
}

int vof_add_head(struct vof_served_queue *queue)
{
    const struct vof_command *command = &queue->intake.command;
    enum vof_framing framing = queue->setup.stream.framing;
    size_t size = vof_completion_head_size(framing, command);
    int error;
    uint8_t *place = vof_outbox_room(&queue->outbox, size, &error);

    if (!place)
        return error;
    vof_put_completion_head(place, framing, command, queue->intake.segments);
    vof_outbox_add(&queue->outbox, size);
    vof_id_finish(queue, command->command_id);
    return 0;
}

int vof_refuse(struct vof_served_queue *queue, uint16_t status)
{
    const struct vof_command *command = &queue->intake.command;
    int error;
    uint8_t *place = vof_outbox_room(&queue->outbox, VOF_COMPLETION_SIZE, &error);

    if (!place)
        return error;
    vof_put_vq_completion(place, status, command->command_id, 0, 0);
    vof_outbox_add(&queue->outbox, VOF_COMPLETION_SIZE);
    vof_id_finish(queue, command->command_id);
    return 0;
}

int vof_served_queue_drain(struct vof_served_queue *queue)
{
    int error = vof_outbox_flush(&queue->outbox);

    while (!error && queue->busy)
        error = vof_await(queue, false);
    return error;
}

int vof_served_queue_answer(struct vof_served_queue *queue, const uint8_t *area)
{
    int error = vof_add_head(queue);
    return error ? error : vof_served_queue_send(queue, area, queue->intake.command.writable);
}

int vof_served_queue_flush(struct vof_served_queue *queue)
{
    return vof_outbox_flush(&queue->outbox);
}
