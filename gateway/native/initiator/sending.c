/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sending: whoever finds nobody at it sends all that the outbox holds, gathered, those requests
 * included that other threads put there meanwhile. They go on to wait, and no lock is handed over.
 */
#include "initiator/sending.h"

#include <sched.h>

#include "clock.h"
#include "initiator/deadlines.h"
#include "initiator/ending.h"
#include "initiator/in_flight.h"
#include "initiator/lead.h"
#include "initiator/queue_state.h"
#include "initiator/receiving.h"

enum {
    GATHER = 256,
    CROWD = 4,                  /* requests in flight from which it pays to wait for more to send */
    WORTH_GATHERING = 32 << 10, /* bytes: beyond, a system call is no matter beside the copying */
};

static const int64_t PATIENCE = 1000000000;     /* between looks at the deadline, at most */
static const int64_t SHORT_PATIENCE = 50000000; /* before another try to lead */
static const int64_t LONG_YIELD = 1000000;      /* for threads of ours to take */
static const int64_t NO_YIELD = 50000000;       /* after a long one */

/* What is to be sent: from byte `offset` of part `part` of `request` on. */
struct cursor {
    struct vofi_request *request;
    unsigned part;
    size_t offset;
};

static unsigned gather(struct cursor from, struct iovec *parts)
{
    unsigned count = 0;
    for (struct vofi_request *request = from.request; request; request = request->next_out) {
        for (unsigned i = request == from.request ? from.part : 0; i < request->out_count; i++) {
            if (count == GATHER)
                return count;
            parts[count] = request->out[i];
            if (!count) {
                parts[0].iov_base = (char *)parts[0].iov_base + from.offset;
                parts[0].iov_len -= from.offset;
            }
            count++;
        }
    }
    return count;
}

/* The sender's last touch: its completion may end it from now on. */
static void let_go(struct vofi_request *request)
{
    atomic_store_explicit(&request->sent, true, memory_order_release);
}

/* Let go of the requests whose bytes are all sent; return where to go on. */
static struct cursor advance(struct cursor at, size_t sent)
{
    while (at.request) {
        struct vofi_request *request = at.request;
        while (at.part < request->out_count) {
            size_t left = request->out[at.part].iov_len - at.offset;
            if (sent < left) {
                at.offset += sent;
                return at;
            }
            sent -= left;
            at.part++;
            at.offset = 0;
        }
        at = (struct cursor){request->next_out, 0, 0};
        let_go(request);
    }
    return at;
}

/* Wait until the transport takes more, or something has changed. The target may be waiting for us to
 * take completions before it reads on, so who has to wait here receives meanwhile, unless another
 * thread does. One that leads already is here for what was submitted while it called back. */
static void await_room(struct vof_queue *queue, struct vofi_request *request)
{
    int64_t patience = PATIENCE;
    int64_t deadline = atomic_load_explicit(&request->deadline, memory_order_relaxed);
    if (deadline) {
        int64_t left = deadline - vof_now();
        patience = left < 0 ? 0 : left < patience ? left : patience;
    }
    struct vof_transport *transport = queue->transport;
    atomic_store_explicit(&queue->blocked, true, memory_order_release);
    bool leads = vof_queue_receives_here(queue);
    if (leads || vof_queue_try_lead(queue)) {
        unsigned both = VOF_IO_READABLE | VOF_IO_WRITABLE;
        if (transport->table->await(transport, both, patience) & VOF_IO_READABLE)
            vof_queue_pump(queue, true);
        if (!leads)
            vof_queue_pass_lead(queue);
    } else {
        if (patience > SHORT_PATIENCE)
            patience = SHORT_PATIENCE;
        transport->table->await(transport, VOF_IO_WRITABLE, patience);
    }
    atomic_store_explicit(&queue->blocked, false, memory_order_release);
    vof_queue_check_deadline(queue, request);
}

/* Send a list of requests. Adds to the counters. */
static void send_list(struct vof_queue *queue, struct vofi_request *list,
                      struct vof_statistics *counters)
{
    struct vof_transport *transport = queue->transport;
    struct cursor at = {list, 0, 0};
    while (at.request && !vof_queue_has_failed(queue)) {
        struct iovec parts[GATHER];
        unsigned count = gather(at, parts);
        const char *why;
        ssize_t sent = transport->table->send(transport, parts, count, &why);
        if (sent >= 0) {
            counters->sends++;
            counters->bytes_sent += (uint64_t)sent;
            at = advance(at, (size_t)sent);
        } else if (sent == VOF_IO_AGAIN) {
            await_room(queue, at.request);
        } else if (sent == VOF_IO_LOST) {
            vof_queue_mark_failed(queue, VOF_CONNECTION_LOST, "sending %s: %s", at.request->what,
                                  why);
        }
    }
    /* After a failure: nothing reads their bytes any more. */
    while (at.request) {
        struct vofi_request *request = at.request;
        at.request = request->next_out;
        let_go(request);
    }
}

static size_t size_of(const struct vofi_request *request)
{
    size_t size = 0;
    for (unsigned i = 0; i < request->out_count; i++)
        size += request->out[i].iov_len;
    return size;
}

/* Whether it pays to wait for what others may have to send; under `lock`. */
static bool is_worth_gathering(const struct vof_queue *queue)
{
    uint64_t in_flight = queue->statistics.submitted - queue->statistics.completed;
    return in_flight >= CROWD && queue->outbox && size_of(queue->outbox) <= WORTH_GATHERING;
}

/* Let the other threads that are ready run first, so that what they have to send goes in the same
 * system call. Back at once where there are none; and not for a while where that took long, because
 * somebody else wants the processor. */
static void give_way(struct vof_queue *queue)
{
    int64_t start = vof_now();
    if (start < queue->no_yield_until)
        return;
    sched_yield();
    int64_t end = vof_now();
    if (end - start > LONG_YIELD)
        queue->no_yield_until = end + NO_YIELD;
}

void vof_queue_send_outbox(struct vof_queue *queue)
{
    struct vof_statistics counters = {0};
    pthread_mutex_lock(&queue->lock);
    if (queue->sending) {
        pthread_mutex_unlock(&queue->lock);
        return;
    }
    queue->sending = true;
    if (is_worth_gathering(queue)) {
        pthread_mutex_unlock(&queue->lock);
        give_way(queue);
        pthread_mutex_lock(&queue->lock);
    }
    while (queue->outbox) {
        struct vofi_request *list = queue->outbox;
        queue->outbox = NULL;
        queue->outbox_end = &queue->outbox;
        pthread_mutex_unlock(&queue->lock);
        send_list(queue, list, &counters);
        pthread_mutex_lock(&queue->lock);
    }
    queue->sending = false;
    queue->statistics.sends += counters.sends;
    queue->statistics.bytes_sent += counters.bytes_sent;
    if (vof_queue_has_failed(queue))
        pthread_cond_broadcast(&queue->sending_ended);
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_send_entered(struct vof_queue *queue)
{
    bool send = !queue->sending;
    /* From within a call back nobody would receive while this had to wait for room. */
    if (send && vof_queue_receives_here(queue) && queue->delivering) {
        queue->deferred = true;
        send = false;
    }
    /* Those who wait may have slept since the lead was given up with the last connection. */
    bool lead = !queue->leading && queue->followers;
    if (lead)
        queue->leading = true;
    pthread_mutex_unlock(&queue->lock);
    if (send)
        vof_queue_send_outbox(queue);
    if (lead)
        vof_queue_release_lead(queue);
    if (vof_queue_has_failed(queue))
        vof_queue_settle(queue);
}

bool vof_queue_submit(struct vof_queue *queue, struct vofi_request *const *requests, unsigned count)
{
    int64_t now = vof_now();
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        requests[i]->following = requests[i]->given_lead = false;
        requests[i]->sequence = queue->sequence++;
        requests[i]->submitted_at = now;
        atomic_store_explicit(&requests[i]->state, VOF_STATE_FLIGHT, memory_order_relaxed);
        vof_queue_enter_flight(queue, requests[i], now);
        queue->unattended += requests[i]->unattended;
    }
    queue->statistics.submitted += count;
    vof_queue_send_entered(queue);
    return true;
}
