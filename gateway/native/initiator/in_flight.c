/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/in_flight.h"

#include <stddef.h>

#include "initiator/completion_parser.h"
#include "initiator/queue_state.h"

static void append_to_outbox(struct vof_queue *queue, struct vofi_request *request)
{
    request->next_out = NULL;
    *queue->outbox_end = request;
    queue->outbox_end = &request->next_out;
}

void vof_queue_enter_flight(struct vof_queue *queue, struct vofi_request *request, int64_t now)
{
    int64_t deadline = request->timeout ? now + request->timeout : 0;
    request->outcome = VOF_IN_FLIGHT;
    atomic_store_explicit(&request->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&request->sent, false, memory_order_relaxed);
    queue->table[request->landing.command_id] = request;
    append_to_outbox(queue, request);
}

static struct vofi_request *insert_by_sequence(struct vofi_request *list,
                                               struct vofi_request *request)
{
    struct vofi_request **place = &list;
    while (*place && (*place)->sequence < request->sequence)
        place = &(*place)->next_out;
    request->next_out = *place;
    *place = request;
    return list;
}

struct vofi_request *vof_queue_hand_over(struct vof_queue *queue)
{
    struct vofi_request *list = NULL;
    queue->outbox = NULL; /* all of it is in the table */
    queue->outbox_end = &queue->outbox;
    for (uint32_t id = 0; id < queue->ids; id++) {
        if (queue->table[id]) {
            list = insert_by_sequence(list, queue->table[id]);
            queue->table[id] = NULL;
        }
    }
    while (queue->arrived) { /* together with a violation */
        struct vofi_request *request = queue->arrived;
        queue->arrived = request->next_out;
        list = insert_by_sequence(list, request);
    }
    struct vof_landing *landing = queue->parser.landing;
    if (landing && landing != &queue->event) /* it had begun to arrive */
        list = insert_by_sequence(list, vofi_request_of(landing));
    vof_parser_restart(&queue->parser);
    for (struct vofi_request *each = list; each; each = each->next_out)
        atomic_store_explicit(&each->deadline, 0, memory_order_relaxed);
    return list;
}
