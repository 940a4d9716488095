/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of the connection. First it is marked, by anyone: no send or receive goes on. Then a
 * thread that leads, so that none is receiving, waits for the sender and hands over what was in
 * flight. After that the queue may go on over another connection.
 */
#include "initiator/ending.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "initiator/in_flight.h"
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
    queue->transport->table->discard(queue->transport);
    queue->transport = NULL;
    queue->fd = -1;
    struct vofi_request *in_flight = vof_queue_hand_over(queue);
    queue->handed_over = true;
    pthread_mutex_unlock(&queue->lock);
    atomic_store_explicit(&queue->receiver, pthread_self(), memory_order_relaxed);
    queue->on_lost(queue, queue->context, in_flight);
    atomic_store_explicit(&queue->receiver, 0, memory_order_relaxed);
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
