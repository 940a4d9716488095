/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/handover.h"

#include <unistd.h>

#include "clock.h"
#include "initiator/ending.h"
#include "initiator/in_flight.h"
#include "initiator/queue_state.h"
#include "initiator/sending.h"

void vof_queue_use(struct vof_queue *queue, struct vof_transport *transport)
{
    queue->transport = transport;
    queue->fd = transport->fd;
    queue->owner = getpid();
    transport->table->set_tick(transport, queue->tick);
}

void vof_queue_end(struct vof_queue *queue, struct vofi_request *request)
{
    vofi_request_finish(queue, request, VOF_LOST);
}

bool vof_queue_attach(struct vof_queue *queue, struct vof_transport *transport)
{
    bool attached = false;
    pthread_mutex_lock(&queue->lock);
    if (queue->handed_over) {
        vof_queue_use(queue, transport);
        queue->torn_down = queue->handed_over = false;
        queue->reason[0] = '\0';
        atomic_store_explicit(&queue->failure, VOF_ALIVE, memory_order_release);
        attached = true;
    }
    pthread_mutex_unlock(&queue->lock);
    return attached;
}

bool vof_queue_resubmit(struct vof_queue *queue, struct vofi_request *request)
{
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    vof_queue_enter_flight(queue, request, vof_now());
    vof_queue_send_entered(queue);
    return true;
}
