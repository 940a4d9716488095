/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/driving.h"

#include "initiator/followers.h"
#include "initiator/queue_state.h"
#include "initiator/waiting.h"

bool vof_queue_drive(struct vof_queue *queue, struct vof_driver *driver, int64_t deadline)
{
    struct vofi_request *place = &driver->place;
    atomic_store_explicit(&place->deadline, deadline, memory_order_relaxed);
    vof_queue_wait_until(queue, place, deadline ? deadline : INT64_MAX, false);
    pthread_mutex_lock(&queue->lock);
    bool stopped = vofi_request_done(place);
    atomic_store_explicit(&place->state, VOF_STATE_FLIGHT, memory_order_relaxed);
    pthread_mutex_unlock(&queue->lock);
    return stopped;
}

void vof_queue_stop(struct vof_queue *queue, struct vof_driver *driver)
{
    pthread_mutex_lock(&queue->lock);
    struct vof_woken woken = vof_change_state(queue, &driver->place, VOF_STATE_DONE);
    pthread_mutex_unlock(&queue->lock);
    vof_wake_up(woken);
}
