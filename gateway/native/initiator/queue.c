/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/queue.h"

#include <stdlib.h>

#include "initiator/fork.h"
#include "initiator/handover.h"
#include "initiator/queue_state.h"
#include "initiator/receiving.h"
#include "initiator/room.h"

struct vof_queue *vof_queue_new(struct vof_transport *transport, enum vof_framing framing,
                                uint16_t size, vof_on_lost *on_lost, void *context)
{
    struct vof_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return NULL;
    if (size > VOF_FIRST_RESERVED_COMMAND_ID)
        size = VOF_FIRST_RESERVED_COMMAND_ID;
    queue->scratch = malloc(VOF_SCRATCH_SIZE);
    if (!queue->scratch || !vof_queue_grow(queue, size)) {
        free(queue->table);
        free(queue->free_ids);
        free(queue->scratch);
        free(queue);
        return NULL;
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->room_changed, NULL);
    pthread_cond_init(&queue->sending_ended, NULL);
    vof_queue_use(queue, transport);
    queue->on_lost = on_lost;
    queue->context = context;
    queue->size = queue->room = size;
    queue->outbox_end = &queue->outbox;
    vof_queue_init_parser(queue, framing);
    vof_queue_watch_forks(queue);
    return queue;
}

void vof_queue_free(struct vof_queue *queue)
{
    vof_queue_forget_forks(queue);
    if (queue->transport)
        queue->transport->table->discard(queue->transport);
    pthread_cond_destroy(&queue->sending_ended);
    pthread_cond_destroy(&queue->room_changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue->scratch);
    free(queue->free_ids);
    free(queue->table);
    free(queue);
}

void vof_queue_accept_events(struct vof_queue *queue)
{
    queue->takes_events = true;
}

uint64_t vof_queue_config_changes(const struct vof_queue *queue)
{
    return atomic_load_explicit(&queue->config_changes, memory_order_acquire);
}

void vof_queue_accept_refusals_with_buffers(struct vof_queue *queue)
{
    queue->parser.refusal_carries_buffers = true;
}

int vof_queue_fd(const struct vof_queue *queue)
{
    return queue->fd;
}

void vof_queue_set_tick(struct vof_queue *queue, int64_t nanoseconds)
{
    pthread_mutex_lock(&queue->lock);
    queue->tick = nanoseconds;
    if (queue->transport)
        queue->transport->table->set_tick(queue->transport, nanoseconds);
    pthread_mutex_unlock(&queue->lock);
}
