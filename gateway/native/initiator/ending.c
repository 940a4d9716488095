/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of the connection. First it is marked, by anyone: no send or receive goes on. Then a
 * thread that leads, so that none is receiving, waits for the sender and hands back what was in
 * flight. After that the queue may go on over another connection.
 */
#include "initiator/ending.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "initiator/completion_parser.h"
#include "initiator/lead.h"
#include "initiator/queue_state.h"

enum vof_failure vof_queue_failure(struct vof_queue *queue)
{
    return (enum vof_failure)atomic_load_explicit(&queue->failure, memory_order_acquire);
}

enum vof_failure vof_queue_reason(struct vof_queue *queue, char reason[VOF_REASON_SIZE])
{
    pthread_mutex_lock(&queue->lock);
    enum vof_failure failure = vof_queue_failure(queue);
    memcpy(reason, queue->reason, sizeof queue->reason);
    pthread_mutex_unlock(&queue->lock);
    return failure;
}

static bool mark(struct vof_queue *queue, enum vof_failure failure, const char *format,
                 va_list arguments)
{
    if (vof_queue_has_failed(queue))
        return false;
    vsnprintf(queue->reason, sizeof queue->reason, format, arguments);
    atomic_store_explicit(&queue->failure, failure, memory_order_release);
    if (queue->owner == getpid())
        queue->transport->table->interrupt(queue->transport);
    pthread_cond_broadcast(&queue->room_changed);
    return true;
}

bool vof_queue_mark_failed(struct vof_queue *queue, enum vof_failure failure, const char *format,
                           ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&queue->lock);
    bool marked = mark(queue, failure, format, arguments);
    pthread_mutex_unlock(&queue->lock);
    va_end(arguments);
    return marked;
}

bool vof_queue_mark_failed_locked(struct vof_queue *queue, enum vof_failure failure,
                                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool marked = mark(queue, failure, format, arguments);
    va_end(arguments);
    return marked;
}

bool vof_queue_end_here(struct vof_queue *queue)
{
    return vof_queue_mark_failed(queue, VOF_ENDED_HERE, "ended here");
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

void vof_queue_tear_down(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    /* Whoever saw the failure before the lock may be late: another connection is attached by now. */
    if (queue->torn_down || !vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return;
    }
    queue->torn_down = true;
    /* A sender may still be reading its caller's memory. */
    while (queue->sending)
        pthread_cond_wait(&queue->sending_ended, &queue->lock);
    queue->outbox = NULL;
    queue->outbox_end = &queue->outbox;
    queue->transport->table->discard(queue->transport);
    queue->transport = NULL;
    queue->fd = -1;
    struct vofi_request *in_flight = NULL;
    for (uint32_t id = 0; id < queue->ids; id++) {
        if (queue->table[id]) {
            in_flight = insert_by_sequence(in_flight, queue->table[id]);
            queue->table[id] = NULL;
        }
    }
    while (queue->arrived) { /* together with a violation */
        struct vofi_request *request = queue->arrived;
        queue->arrived = request->next_out;
        in_flight = insert_by_sequence(in_flight, request);
    }
    struct vof_landing *landing = queue->parser.landing;
    if (landing && landing != &queue->event) /* it had begun to arrive */
        in_flight = insert_by_sequence(in_flight, vofi_request_of(landing));
    vof_parser_restart(&queue->parser);
    for (struct vofi_request *each = in_flight; each; each = each->next_out)
        atomic_store_explicit(&each->deadline, 0, memory_order_relaxed);
    queue->handed_back = true;
    pthread_mutex_unlock(&queue->lock);
    queue->on_lost(queue, queue->context, in_flight);
}

void vof_queue_release_lead(struct vof_queue *queue)
{
    /* Who marked the failure could not tear down while we led. */
    if (vof_queue_has_failed(queue))
        vof_queue_tear_down(queue);
    vof_queue_pass_lead(queue);
    if (vof_queue_has_failed(queue))
        vof_queue_settle(queue);
}

void vof_queue_settle(struct vof_queue *queue)
{
    /* Where another thread leads, the interruption wakes it and it comes by here or in its receive. */
    pthread_mutex_lock(&queue->lock);
    bool ours = vof_queue_has_failed(queue) && !queue->torn_down && !queue->leading;
    if (ours)
        queue->leading = true;
    pthread_mutex_unlock(&queue->lock);
    if (ours)
        vof_queue_release_lead(queue);
}

void vof_queue_end(struct vof_queue *queue, struct vofi_request *request)
{
    vofi_request_finish(queue, request, VOF_LOST);
}
