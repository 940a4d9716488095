/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The queue's beginning, its ids and its table. Sending is in sending.c, receiving in receiving.c,
 * the end of a connection in ending.c.
 */
#include "initiator/queue.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/queue_internal.h"

static size_t words_for(uint32_t ids)
{
    return (ids + 63) / 64;
}

/* The parser's events. */

/* Wait for the sender to let go of a request, which takes it a moment after the last byte was sent.
 * False where it is still waiting to send it: then nobody can have seen the whole command yet. */
static bool is_sent(struct vof_queue *queue, struct vof_request *request)
{
    while (!atomic_load_explicit(&request->sent, memory_order_acquire)) {
        if (atomic_load_explicit(&queue->blocked, memory_order_acquire))
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
    struct vof_request *request = command_id < queue->ids ? queue->table[command_id] : NULL;
    pthread_mutex_unlock(&queue->lock);
    if (!request || !is_sent(queue, request))
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
    struct vof_request *request = vof_request_of(landing);
    request->next_out = queue->arrived;
    queue->arrived = request;
}

/* Make the table and the ids large enough for `ids` of them. */
static bool grow(struct vof_queue *queue, uint32_t ids)
{
    size_t words = words_for(ids), old_words = words_for(queue->ids);
    struct vof_request **table = realloc(queue->table, ids * sizeof *table);
    if (!table)
        return false;
    queue->table = table;
    uint64_t *free_ids = realloc(queue->free_ids, words * sizeof *free_ids);
    if (!free_ids)
        return false;
    queue->free_ids = free_ids;
    memset(table + queue->ids, 0, (ids - queue->ids) * sizeof *table);
    /* More requests than descriptors there are never, so ids beyond the last are never taken. */
    memset(free_ids + old_words, 0xff, (words - old_words) * sizeof *free_ids);
    queue->ids = ids;
    return true;
}

struct vof_queue *vof_queue_new(int fd, enum vof_framing framing, uint16_t size,
                                vof_on_lost *on_lost, void *context)
{
    struct vof_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return NULL;
    if (size > VOF_FIRST_RESERVED_COMMAND_ID)
        size = VOF_FIRST_RESERVED_COMMAND_ID;
    queue->scratch = malloc(VOF_SCRATCH_SIZE);
    if (!queue->scratch || !grow(queue, size)) {
        free(queue->table);
        free(queue->free_ids);
        free(queue->scratch);
        free(queue);
        return NULL;
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->room_changed, NULL);
    pthread_cond_init(&queue->sending_ended, NULL);
    queue->fd = fd;
    queue->owner = getpid();
    queue->on_lost = on_lost;
    queue->context = context;
    queue->size = queue->room = size;
    queue->outbox_end = &queue->outbox;
    struct vof_completion_events events = {expect, arrived, queue};
    vof_parser_init(&queue->parser, framing, events);
    vof_queue_watch_forks(queue);
    return queue;
}

void vof_queue_free(struct vof_queue *queue)
{
    vof_queue_forget_forks(queue);
    if (queue->fd >= 0)
        close(queue->fd);
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

void vof_queue_apply_tick(const struct vof_queue *queue)
{
    struct timeval tick = {queue->tick / 1000000000, queue->tick % 1000000000 / 1000};
    setsockopt(queue->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
}

void vof_queue_set_tick(struct vof_queue *queue, int64_t nanoseconds)
{
    pthread_mutex_lock(&queue->lock);
    queue->tick = nanoseconds;
    if (queue->fd >= 0)
        vof_queue_apply_tick(queue);
    pthread_mutex_unlock(&queue->lock);
}

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
    for (const struct vof_request *each = queue->followers; each; each = each->next)
        activity->followers++;
    pthread_mutex_unlock(&queue->lock);
}

/* Ids and room. */

bool vof_queue_resize(struct vof_queue *queue, uint32_t size)
{
    if (size > VOF_FIRST_RESERVED_COMMAND_ID)
        size = VOF_FIRST_RESERVED_COMMAND_ID;
    pthread_mutex_lock(&queue->lock);
    bool done = size <= queue->ids || grow(queue, size);
    if (done) {
        queue->room += (int64_t)size - queue->size;
        queue->size = size;
        pthread_cond_broadcast(&queue->room_changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return done;
}

uint32_t vof_queue_ids(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint32_t ids = queue->ids;
    pthread_mutex_unlock(&queue->lock);
    return ids;
}

static int lowest_free_id(struct vof_queue *queue)
{
    for (size_t word = 0; word < words_for(queue->ids); word++) {
        uint64_t bits = queue->free_ids[word];
        if (bits) {
            queue->free_ids[word] = bits & (bits - 1);
            return (int)(word * 64 + (unsigned)__builtin_ctzll(bits));
        }
    }
    return -1; /* not reached: there are no more requests than descriptors */
}

int vof_queue_take_id(struct vof_queue *queue, uint32_t descriptors, bool wait)
{
    int id = -1;
    pthread_mutex_lock(&queue->lock);
    while (queue->room < descriptors && wait) {
        queue->room_waiters++;
        pthread_cond_wait(&queue->room_changed, &queue->lock);
        queue->room_waiters--;
    }
    if (queue->room >= descriptors) {
        queue->room -= descriptors;
        id = lowest_free_id(queue);
    }
    pthread_mutex_unlock(&queue->lock);
    return id;
}

void vof_queue_give_back_id(struct vof_queue *queue, uint16_t id, uint32_t descriptors)
{
    pthread_mutex_lock(&queue->lock);
    queue->free_ids[id / 64] |= UINT64_C(1) << id % 64;
    queue->room += descriptors;
    if (queue->room_waiters)
        pthread_cond_broadcast(&queue->room_changed);
    pthread_mutex_unlock(&queue->lock);
}

/* Submission. */

static void append_to_outbox(struct vof_queue *queue, struct vof_request *request)
{
    request->next_out = NULL;
    *queue->outbox_end = request;
    queue->outbox_end = &request->next_out;
}

static void enter(struct vof_queue *queue, struct vof_request *request, int64_t now)
{
    int64_t deadline = request->timeout ? now + request->timeout : 0;
    request->outcome = VOF_IN_FLIGHT;
    atomic_store_explicit(&request->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&request->sent, false, memory_order_relaxed);
    queue->table[request->landing.command_id] = request;
    append_to_outbox(queue, request);
}

bool vof_queue_submit(struct vof_queue *queue, struct vof_request *const *requests, unsigned count)
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
        enter(queue, requests[i], now);
    }
    queue->statistics.submitted += count;
    bool send = !queue->sending;
    pthread_mutex_unlock(&queue->lock);
    if (send)
        vof_queue_send_outbox(queue);
    if (vof_queue_has_failed(queue))
        vof_queue_settle(queue);
    return true;
}

bool vof_queue_resubmit(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    enter(queue, request, vof_now());
    bool send = !queue->sending;
    /* Its waiter may have slept since the lead was given up with the old connection. */
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
    return true;
}
