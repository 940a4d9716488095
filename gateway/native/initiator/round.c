/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/round.h"

#include "clock.h"
#include "initiator/deadlines.h"
#include "initiator/ending.h"
#include "initiator/lead.h"
#include "initiator/queue_state.h"
#include "initiator/receiving.h"
#include "initiator/sending.h"

static const int64_t LONGEST = 1000000000; /* nanoseconds of a wait without a tick */

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

bool vof_queue_receive_until(struct vof_queue *queue, int64_t until)
{
    int64_t left = until - vof_now();
    int64_t tick = atomic_load_explicit(&queue->tick, memory_order_relaxed);
    if (tick && tick <= left) /* one system call is enough */
        return vof_queue_receive(queue, false);
    if (left > 0 && !vof_queue_has_failed(queue)) {
        struct vof_transport *transport = queue->transport;
        transport->table->await(transport, VOF_IO_READABLE, left < LONGEST ? left : LONGEST);
    }
    return vof_queue_receive(queue, true);
}

void vof_queue_look(struct vof_queue *queue)
{
    if (!vof_queue_has_failed(queue) && vof_queue_try_lead(queue)) {
        vof_queue_receive(queue, true);
        vof_queue_release_lead(queue);
    }
}
