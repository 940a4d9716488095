/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/deadlines.h"

#include "clock.h"
#include "initiator/ending.h"
#include "initiator/queue_state.h"

static const int64_t LOOK = 50000000; /* nanoseconds between looks at the unattended, at least */

/* Under `lock`. */
static void expire(struct vof_queue *queue, struct vofi_request *request)
{
    double seconds = (double)request->timeout / 1e9;
    atomic_store_explicit(&request->deadline, 0, memory_order_relaxed);
    if (request->timeout)
        vof_queue_mark_failed_locked(queue, VOF_NO_ANSWER, "no answer to %s within %g s",
                                     request->what, seconds);
    else
        vof_queue_mark_failed_locked(queue, VOF_NO_ANSWER, "no answer to %s", request->what);
}

void vof_queue_expire(struct vof_queue *queue, struct vofi_request *request)
{
    pthread_mutex_lock(&queue->lock);
    expire(queue, request);
    pthread_mutex_unlock(&queue->lock);
}

static bool has_expired(struct vofi_request *request)
{
    int64_t deadline = atomic_load_explicit(&request->deadline, memory_order_relaxed);
    return deadline && vof_now() >= deadline;
}

void vof_queue_check_deadline(struct vof_queue *queue, struct vofi_request *request)
{
    if (!has_expired(request))
        return;
    pthread_mutex_lock(&queue->lock);
    /* Looked at again: it may have been sent over another connection since. */
    if (has_expired(request))
        expire(queue, request);
    pthread_mutex_unlock(&queue->lock);
}

/* Under `lock`. */
static void look_at(struct vof_queue *queue, struct vofi_request *request)
{
    if (request->unattended && has_expired(request))
        expire(queue, request);
}

void vof_queue_check_unattended(struct vof_queue *queue)
{
    if (!atomic_load_explicit(&queue->unattended, memory_order_relaxed))
        return;
    int64_t now = vof_now();
    if (now < queue->next_look)
        return;
    queue->next_look = now + LOOK;
    pthread_mutex_lock(&queue->lock);
    struct vof_landing *begun = queue->parser.landing;
    if (begun && begun != &queue->event)
        look_at(queue, vofi_request_of(begun));
    for (uint32_t id = 0; id < queue->ids; id++) {
        if (queue->table[id])
            look_at(queue, queue->table[id]);
    }
    pthread_mutex_unlock(&queue->lock);
}
