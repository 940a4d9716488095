/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/receiving.h"

#include <sched.h>
#include <string.h>

#include "clock.h"
#include "initiator/completion_parser.h"
#include "initiator/ending.h"
#include "initiator/queue_state.h"

enum {
    DIRECT_SIZE = 8 << 10, /* missing from callers' buffers from which they are received into */
    MOST_PARTS = 256,      /* of a receive; the kernel takes 1024 at once (IOV_MAX) */
};

/* The parser's events. */

/* Wait for the sender to let go of a request, which takes it a moment after the last byte was sent.
 * False where it is still waiting to send it, or nobody is `sending`: then nobody can have seen the
 * whole command yet. */
static bool is_sent(struct vof_queue *queue, struct vofi_request *request, bool sending)
{
    while (!atomic_load_explicit(&request->sent, memory_order_acquire)) {
        if (!sending || atomic_load_explicit(&queue->blocked, memory_order_acquire))
            return atomic_load_explicit(&request->sent, memory_order_acquire);
        sched_yield();
    }
    return true;
}

static struct vof_landing *expect(void *context, uint16_t command_id)
{
    struct vof_queue *queue = context;
    if (queue->takes_events &&
        (command_id == VOF_EVENT_CONFIG_CHANGE || command_id == VOF_EVENT_KEEPALIVE)) {
        queue->event.command_id = command_id;
        return &queue->event;
    }
    pthread_mutex_lock(&queue->lock);
    struct vofi_request *request = command_id < queue->ids ? queue->table[command_id] : NULL;
    bool sending = queue->sending;
    pthread_mutex_unlock(&queue->lock);
    if (!request || !is_sent(queue, request, sending))
        return NULL;
    /* At once, so that a second completion finds nothing to write to. */
    pthread_mutex_lock(&queue->lock);
    queue->table[command_id] = NULL;
    pthread_mutex_unlock(&queue->lock);
    return &request->landing;
}

static void arrived(void *context, struct vof_landing *landing)
{
    struct vof_queue *queue = context;
    if (landing == &queue->event) {
        if (landing->command_id == VOF_EVENT_CONFIG_CHANGE)
            atomic_fetch_add_explicit(&queue->config_changes, 1, memory_order_release);
        return;
    }
    struct vofi_request *request = vofi_request_of(landing);
    request->next_out = queue->arrived;
    queue->arrived = request;
}

void vof_queue_init_parser(struct vof_queue *queue, enum vof_framing framing)
{
    struct vof_completion_events events = {expect, arrived, queue};
    vof_parser_init(&queue->parser, framing, events);
}

/* Receiving. */

static ssize_t receive_some(struct vof_queue *queue, bool wait, size_t *direct, const char **why)
{
    struct vof_transport *transport = queue->transport;
    struct iovec scratch = {queue->scratch, VOF_SCRATCH_SIZE};
    const struct iovec *buffers = NULL;
    unsigned count = vof_parser_wanted(&queue->parser, &buffers, direct);
    if (*direct < DIRECT_SIZE) {
        *direct = 0;
        return transport->table->receive(transport, &scratch, 1, wait, why);
    }
    if (count >= MOST_PARTS) /* what is left of them is for the next receive */
        return transport->table->receive(transport, buffers, MOST_PARTS, wait, why);
    struct iovec parts[MOST_PARTS];
    memcpy(parts, buffers, count * sizeof *parts);
    parts[count++] = scratch;
    return transport->table->receive(transport, parts, count, wait, why);
}

/* End those whose completions are whole, in the order in which they came. */
static void deliver(struct vof_queue *queue)
{
    struct vofi_request *list = NULL;
    while (queue->arrived) {
        struct vofi_request *request = queue->arrived;
        queue->arrived = request->next_out;
        request->next_out = list;
        list = request;
    }
    queue->delivering = true;
    while (list) {
        struct vofi_request *request = list;
        list = request->next_out;
        vofi_request_finish(queue, request, VOF_ARRIVED);
    }
    queue->delivering = false;
}

/* Take what was received: the first `direct` bytes lie where they belong. */
static void take(struct vof_queue *queue, size_t bytes, size_t direct)
{
    queue->received_at = vof_now();
    pthread_mutex_lock(&queue->lock);
    queue->statistics.receives++;
    queue->statistics.bytes_received += bytes;
    pthread_mutex_unlock(&queue->lock);
    if (direct > bytes)
        direct = bytes;
    vof_parser_advance(&queue->parser, direct);
    if (vof_parser_feed(&queue->parser, queue->scratch, bytes - direct))
        deliver(queue);
    else /* what came together with it is not to be trusted either */
        vof_queue_mark_failed(queue, VOF_VIOLATION, "%s", queue->parser.error);
}

bool vof_queue_pump(struct vof_queue *queue, bool nonblocking)
{
    bool wait = !nonblocking;
    while (!vof_queue_has_failed(queue)) {
        size_t direct;
        const char *why;
        ssize_t received = receive_some(queue, wait, &direct, &why);
        if (received == VOF_IO_SIGNAL)
            return false;
        if (received == VOF_IO_AGAIN) /* or a tick has passed: the waiter looks at its deadline */
            return true;
        if (received > 0)
            take(queue, (size_t)received, direct);
        else
            vof_queue_mark_failed(queue, VOF_CONNECTION_LOST, "%s",
                                  received ? why : "closed by the target");
        if (!queue->transport->buffered)
            return true;
        wait = false;
    }
    return true;
}
