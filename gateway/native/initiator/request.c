/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/request.h"

#include <stddef.h>

#include "counts.h"
#include "initiator/followers.h"
#include "initiator/queue_state.h"

/* Under `lock`. */
static void count(struct vof_queue *queue, const struct vofi_request *request,
                  enum vof_outcome outcome)
{
    struct vof_count *count = &queue->counts[request->kind];
    if (outcome != VOF_ARRIVED) {
        count->requests++;
        count->lost++;
        return;
    }
    /* By who leads, which has received it. */
    vof_count_answered(count, queue->received_at - request->submitted_at);
    if (request->landing.completion.status)
        count->refused++;
    else
        count->data_bytes += request->data_bytes;
}

void vofi_request_finish(struct vof_queue *queue, struct vofi_request *request,
                         enum vof_outcome outcome)
{
    void (*on_done)(void *) = request->on_done;
    void *owner = request->owner;
    request->outcome = outcome;
    pthread_mutex_lock(&queue->lock);
    queue->statistics.completed++;
    queue->unattended -= request->unattended;
    count(queue, request, outcome);
    struct vof_woken woken = vof_change_state(queue, request, VOF_STATE_DONE);
    pthread_mutex_unlock(&queue->lock);
    if (on_done)
        on_done(owner);
    vof_wake_up(woken);
}
