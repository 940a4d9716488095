/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One request while another thread works on it, and the way back to its queue.
 *
 * Owns what the request needs meanwhile: its payload, the room for its answer. A task is its
 * queue's, but from vof_pool_submit to its return through vof_task_collect only the pool's thread
 * touches it. Must not know sockets.
 */
#ifndef VOF_TARGET_BLOCK_TASK_H
#define VOF_TARGET_BLOCK_TASK_H

#include <pthread.h>

#include "target/buffers.h"
#include "target/block/device.h"

/* Bytes of an answer that needs no buffer: a head with some twenty descriptors, and a status. */
enum { VOF_SMALL_ANSWER = 512 };

struct vof_returns;

struct vof_task {
    struct vof_work work;
    struct vof_task *next;
    struct vof_device *device;
    struct vof_returns *returns;
    struct voft_request request;
    struct vof_buffer payload; /* where `request.data` lies */
    struct vof_buffer room;    /* where `answer` lies, if not in `small` */
    struct vof_pipe pipe;      /* where the data of a read is, if there is one */
    uint8_t *answer;           /* the completion's head, then the device-writable area, which has */
    size_t head_size;          /* only its last byte here where the rest is in a pipe */
    uint32_t writable;
    uint16_t command_id;
    int64_t received_at; /* monotonic nanoseconds */
    int error; /* of the disk, 0 for none */
    bool again; /* the pipe did not do: to be executed once more, without one */
    uint8_t small[VOF_SMALL_ANSWER];
};

/* Tasks on their way back to one queue. */
struct vof_returns {
    pthread_mutex_t lock; /* of everything below */
    struct vof_task *first;
    struct vof_task **last;
    bool awaited; /* the queue's thread looks at `wake` */
    int wake;     /* an eventfd; -1 while nothing is under way */
};

void vof_returns_open(struct vof_returns *returns);
void vof_returns_close(struct vof_returns *returns);

/* Execute a request whose answer has all its area, in this thread; returns 0 or an errno of the
 * disk. The whole area is set, the status byte too. */
int vof_execute(struct vof_device *device, const struct voft_request *request, uint8_t *area,
                uint32_t writable);

/* Execute a task in this thread. */
void vof_task_run(struct vof_task *task);

/* Execute it in one of the device's threads; false where there is none. */
bool vof_task_submit(struct vof_task *task);

/* Return a task that is done, or NULL. With `awaited`, NULL also says that `wake` will become
 * readable when there is one. */
struct vof_task *vof_task_collect(struct vof_returns *returns, bool awaited);

#endif
