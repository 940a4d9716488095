// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/task.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

void vof_returns_open(struct vof_returns *returns)
{
    pthread_mutex_init(&returns->lock, NULL);
    returns->first = NULL;
    returns->last = &returns->first;
    returns->awaited = false;
    returns->wake = -1;
}

void vof_returns_close(struct vof_returns *returns)
{
    if (returns->wake >= 0)
        close(returns->wake);
    pthread_mutex_destroy(&returns->lock);
}

static int execute_ranges(struct vof_store *store, const struct voft_request *request)
{
    uint32_t count = voft_request_ranges(request);

    for (uint32_t i = 0; i < count; i++) {
        struct vof_range range = voft_request_range(request, i);
        int error = 0;
        if (!range.length)
            continue;
        if (request->action == VOF_DISCARD)
            error = vof_store_discard(store, range.offset, range.length);
        else
            error = vof_store_write_zeroes(store, range.offset, range.length, range.unmap);
        if (error)
            return error;
    }
    return request->persist ? vof_store_flush(store) : 0;
}

int vof_execute(struct vof_device *device, const struct voft_request *request, uint8_t *area,
                uint32_t writable)
{
    struct vof_store *store = &device->store;
    uint8_t status = request->status;
    int error = 0;

    switch (request->action) {
    case VOF_READ:
        error = vof_store_read(store, area, request->length, request->offset);
        break;
    case VOF_WRITE:
        error = vof_store_write(store, request->data, request->length, request->offset,
                                request->persist);
        break;
    case VOF_FLUSH:
        error = vof_store_flush(store);
        break;
    case VOF_DISCARD:
    case VOF_WRITE_ZEROES:
        error = execute_ranges(store, request);
        break;
    case VOF_REFUSE:
    case VOF_ELSEWHERE:
        break;
    }
    if (error)
        status = VOF_BLK_S_IOERR;
    if (status != VOF_BLK_S_OK || request->action != VOF_READ)
        memset(area, 0, writable - 1);
    area[writable - 1] = status;
    return error;
}

void vof_task_run(struct vof_task *task)
{
    if (task->pipe.out < 0) {
        task->error = vof_execute(task->device, &task->request, task->answer + task->head_size,
                                  task->writable);
        return;
    }
    task->again = vof_pipe_fill(&task->pipe, task->device->store.fd, task->request.length,
                                task->request.offset) != 0;
    task->answer[task->head_size] = VOF_BLK_S_OK;
}

static void run_elsewhere(struct vof_work *work)
{
    struct vof_task *task =
        (struct vof_task *)(void *)((char *)work - offsetof(struct vof_task, work));
    struct vof_returns *returns = task->returns;
    uint64_t one = 1;

    vof_task_run(task);
    pthread_mutex_lock(&returns->lock);
    task->next = NULL;
    *returns->last = task;
    returns->last = &task->next;
    if (returns->awaited) {
        returns->awaited = false;
        /* Under the lock: once it is released, the queue may be gone. A full counter is awake. */
        if (write(returns->wake, &one, sizeof one) < 0)
            returns->awaited = true;
    }
    pthread_mutex_unlock(&returns->lock);
}

bool vof_task_submit(struct vof_task *task)
{
    task->work.run = run_elsewhere;
    return vof_pool_submit(task->device->pool, &task->work);
}

struct vof_task *vof_task_collect(struct vof_returns *returns, bool awaited)
{
    struct vof_task *task;

    pthread_mutex_lock(&returns->lock);
    task = returns->first;
    if (task) {
        returns->first = task->next;
        if (!returns->first)
            returns->last = &returns->first;
    }
    returns->awaited = awaited && !task;
    pthread_mutex_unlock(&returns->lock);
    return task;
}
