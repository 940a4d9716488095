/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/lead.h"

#include <stddef.h>

#include "initiator/followers.h"
#include "initiator/queue_state.h"

bool vof_queue_try_lead(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    bool free = !queue->leading;
    queue->leading = true;
    pthread_mutex_unlock(&queue->lock);
    return free;
}

void vof_queue_pass_lead(struct vof_queue *queue)
{
    struct vof_woken woken = {NULL, NULL, NULL};
    pthread_mutex_lock(&queue->lock);
    struct vofi_request *next = queue->torn_down ? NULL : queue->followers;
    if (next) {
        next->given_lead = true;
        woken = vof_change_state(queue, next, VOF_STATE_LEAD);
    } else {
        queue->leading = false;
    }
    pthread_mutex_unlock(&queue->lock);
    vof_wake_up(woken);
}

bool vof_queue_lead_or_follow(struct vof_queue *queue, struct vofi_request *request,
                              void (*wake)(void *waker), void *waker)
{
    pthread_mutex_lock(&queue->lock);
    bool done = vofi_request_done(request);
    bool lead = !done && !queue->leading;
    if (lead)
        queue->leading = true;
    else if (!done)
        vof_queue_follow(queue, request, wake, waker);
    if (!done) {
        queue->statistics.led += lead;
        queue->statistics.followed += !lead;
    }
    pthread_mutex_unlock(&queue->lock);
    if (done && wake)
        wake(waker);
    return lead;
}
