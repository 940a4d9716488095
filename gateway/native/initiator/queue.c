/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The queue's life, its ids and its table. Sending is in sending.c, receiving in receiving.c.
 */
#include "initiator/queue.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "initiator/queue_internal.h"

static size_t words_for(uint32_t ids)
{
    return (ids + 63) / 64;
}

int64_t vof_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

enum { CROWD = 4 }; /* requests in flight from which it pays to wait for more to do at once */

static const int64_t LONG = 1000000;    /* for threads of ours to take */
static const int64_t A_WHILE = 50000000;

void vof_queue_give_way(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint64_t in_flight = queue->statistics.submitted - queue->statistics.completed;
    pthread_mutex_unlock(&queue->lock);
    if (in_flight < CROWD)
        return;
    int64_t start = vof_now();
    if (start < atomic_load_explicit(&queue->busy_until, memory_order_relaxed))
        return;
    sched_yield();
    int64_t end = vof_now();
    if (end - start > LONG)
        atomic_store_explicit(&queue->busy_until, end + A_WHILE, memory_order_relaxed);
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
    struct vof_request *request =
        (struct vof_request *)((char *)landing - offsetof(struct vof_request, landing));
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
    return queue;
}

void vof_queue_free(struct vof_queue *queue)
{
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

void vof_queue_accept_refusals_with_buffers(struct vof_queue *queue)
{
    queue->parser.refusal_carries_buffers = true;
}

int vof_queue_fd(const struct vof_queue *queue)
{
    return queue->fd;
}

static void apply_tick(const struct vof_queue *queue)
{
    struct timeval tick = {queue->tick / 1000000000, queue->tick % 1000000000 / 1000};
    setsockopt(queue->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
}

void vof_queue_set_tick(struct vof_queue *queue, int64_t nanoseconds)
{
    pthread_mutex_lock(&queue->lock);
    queue->tick = nanoseconds;
    if (queue->fd >= 0)
        apply_tick(queue);
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_statistics(struct vof_queue *queue, struct vof_statistics *statistics)
{
    pthread_mutex_lock(&queue->lock);
    *statistics = queue->statistics;
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

bool vof_queue_resize(struct vof_queue *queue, uint16_t size)
{
    if (size > VOF_FIRST_RESERVED_COMMAND_ID)
        size = VOF_FIRST_RESERVED_COMMAND_ID;
    pthread_mutex_lock(&queue->lock);
    bool done = size <= queue->ids || grow(queue, size);
    if (done) {
        uint32_t used = queue->size - queue->room;
        queue->size = size;
        queue->room = size > used ? size - used : 0;
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

int vof_queue_take_id(struct vof_queue *queue, uint16_t descriptors, bool wait)
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

void vof_queue_give_back_id(struct vof_queue *queue, uint16_t id, uint16_t descriptors)
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

static void enter(struct vof_queue *queue, struct vof_request *request)
{
    request->outcome = VOF_IN_FLIGHT;
    request->deadline = request->timeout ? vof_now() + request->timeout : 0;
    request->given_lead = false;
    atomic_store_explicit(&request->sent, false, memory_order_relaxed);
    queue->table[request->landing.command_id] = request;
    append_to_outbox(queue, request);
}

bool vof_queue_submit(struct vof_queue *queue, struct vof_request *const *requests, unsigned count)
{
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        requests[i]->following = false;
        requests[i]->sequence = queue->sequence++;
        atomic_store_explicit(&requests[i]->state, VOF_STATE_FLIGHT, memory_order_relaxed);
        enter(queue, requests[i]);
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

/* The end of the connection. First it is marked, by anyone: no send or receive goes on. Then a
 * thread that leads, so that none is receiving, waits for the sender and hands back what was in
 * flight. */

enum vof_failure vof_queue_failure(struct vof_queue *queue)
{
    return (enum vof_failure)atomic_load_explicit(&queue->failure, memory_order_acquire);
}

const char *vof_queue_reason(struct vof_queue *queue)
{
    return queue->reason;
}

void vof_queue_mark_failed(struct vof_queue *queue, enum vof_failure failure, const char *format,
                           ...)
{
    pthread_mutex_lock(&queue->lock);
    if (!vof_queue_has_failed(queue)) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(queue->reason, sizeof queue->reason, format, arguments);
        va_end(arguments);
        atomic_store_explicit(&queue->failure, failure, memory_order_release);
        if (queue->owner == getpid())
            shutdown(queue->fd, SHUT_RDWR);
        pthread_cond_broadcast(&queue->room_changed);
    }
    pthread_mutex_unlock(&queue->lock);
}

void vof_queue_fail(struct vof_queue *queue, enum vof_failure failure, const char *reason)
{
    vof_queue_mark_failed(queue, failure, "%s", reason);
    vof_queue_settle(queue);
}

void vof_queue_settle(struct vof_queue *queue)
{
    /* Where another thread leads, the shutdown wakes it and it comes by here or in its receive. */
    pthread_mutex_lock(&queue->lock);
    bool ours = vof_queue_has_failed(queue) && !queue->torn_down && !queue->leading;
    if (ours)
        queue->leading = true;
    pthread_mutex_unlock(&queue->lock);
    if (ours)
        vof_queue_release_lead(queue);
}

static struct vof_request *insert_by_sequence(struct vof_request *list, struct vof_request *request)
{
    struct vof_request **place = &list;
    while (*place && (*place)->sequence < request->sequence)
        place = &(*place)->next_out;
    request->next_out = *place;
    *place = request;
    return list;
}

void vof_queue_tear_down(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    if (queue->torn_down) {
        pthread_mutex_unlock(&queue->lock);
        return;
    }
    queue->torn_down = true;
    /* A sender may still be reading its caller's memory. */
    while (queue->sending)
        pthread_cond_wait(&queue->sending_ended, &queue->lock);
    queue->outbox = NULL;
    queue->outbox_end = &queue->outbox;
    close(queue->fd);
    queue->fd = -1;
    struct vof_request *in_flight = NULL;
    for (uint32_t id = 0; id < queue->ids; id++) {
        if (queue->table[id]) {
            in_flight = insert_by_sequence(in_flight, queue->table[id]);
            queue->table[id] = NULL;
        }
    }
    while (queue->arrived) { /* together with a violation */
        struct vof_request *request = queue->arrived;
        queue->arrived = request->next_out;
        in_flight = insert_by_sequence(in_flight, request);
    }
    struct vof_landing *landing = queue->parser.landing;
    if (landing) /* it had begun to arrive */
        in_flight = insert_by_sequence(
            in_flight,
            (struct vof_request *)((char *)landing - offsetof(struct vof_request, landing)));
    vof_parser_restart(&queue->parser);
    pthread_mutex_unlock(&queue->lock);
    queue->on_lost(queue, queue->context, in_flight);
}

void vof_queue_end(struct vof_queue *queue, struct vof_request *request)
{
    vof_request_finish(queue, request, VOF_LOST);
}

/* Going on over another connection. */

bool vof_queue_attach(struct vof_queue *queue, int fd)
{
    bool attached = false;
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue) && queue->torn_down) {
        queue->fd = fd;
        queue->owner = getpid();
        queue->torn_down = false;
        queue->reason[0] = '\0';
        apply_tick(queue);
        atomic_store_explicit(&queue->failure, VOF_ALIVE, memory_order_release);
        attached = true;
    }
    pthread_mutex_unlock(&queue->lock);
    return attached;
}

bool vof_queue_resubmit(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    if (vof_queue_has_failed(queue)) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    enter(queue, request);
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
