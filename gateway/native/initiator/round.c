/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/round.h"

#include "initiator/deadlines.h"
#include "initiator/ending.h"
#include "initiator/lead.h"
#include "initiator/queue_state.h"
#include "initiator/receiving.h"
#include "initiator/sending.h"

bool vof_queue_receive(struct vof_queue *queue, bool nonblocking)
{
    atomic_store_explicit(&queue->receiver, pthread_self(), memory_order_relaxed);
    bool undisturbed = vof_queue_pump(queue, nonblocking);
    if (queue->deferred) {
        queue->deferred = false;
        vof_queue_send_outbox(queue);
    }
    vof_queue_check_unattended(queue);
    atomic_store_explicit(&queue->receiver, 0, memory_order_relaxed);
    if (vof_queue_has_failed(queue))
        vof_queue_tear_down(queue);
    return undisturbed;
}

void vof_queue_look(struct vof_queue *queue)
{
    if (!vof_queue_has_failed(queue) && vof_queue_try_lead(queue)) {
        vof_queue_receive(queue, true);
        vof_queue_release_lead(queue);
    }
}
