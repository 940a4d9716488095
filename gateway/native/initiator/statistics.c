/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/statistics.h"

#include <string.h>

#include "initiator/queue_state.h"

void vof_queue_statistics(struct vof_queue *queue, struct vof_statistics *statistics)
{
    pthread_mutex_lock(&queue->lock);
    *statistics = queue->statistics;
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_counts(struct vof_queue *queue, struct vof_count counts[VOF_KINDS])
{
    pthread_mutex_lock(&queue->lock);
    memcpy(counts, queue->counts, sizeof queue->counts);
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_count_failed(struct vof_queue *queue, uint8_t kind)
{
    pthread_mutex_lock(&queue->lock);
    queue->counts[kind].failed++;
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_activity(struct vof_queue *queue, struct vof_activity *activity)
{
    pthread_mutex_lock(&queue->lock);
    activity->in_flight = queue->statistics.submitted - queue->statistics.completed;
    activity->leading = queue->leading;
    activity->sending = queue->sending;
    activity->waiting_for_room = queue->room_waiters;
    activity->followers = 0;
    for (const struct vofi_request *each = queue->followers; each; each = each->next)
        activity->followers++;
    pthread_mutex_unlock(&queue->lock);
}
