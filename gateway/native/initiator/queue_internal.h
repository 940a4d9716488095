/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of the queue share: queue.c (ids, table), sending.c, receiving.c,
 * ending.c, fork.c.
 *
 * `lock` guards the table, the outbox, the followers, the ids and the failure; it is never held
 * during a system call that can block or a callback. Who leads owns the parser, the scratch buffer
 * and, together with it, the right to receive and to tear down; who sends owns the order of sends.
 */
#ifndef VOF_QUEUE_INTERNAL_H
#define VOF_QUEUE_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "initiator/queue.h"

/* States of a request. */
enum {
    VOF_STATE_FLIGHT,
    VOF_STATE_DONE, /* vof_request_done knows this number */
    VOF_STATE_LEAD, /* a follower that has been given the lead */
};

enum {
    VOF_SCRATCH_SIZE = 64 << 10, /* asked for at once where it is not yet known whose the bytes are */
    VOF_DIRECT_SIZE = 8 << 10,   /* missing from callers' buffers from which they are received into */
    VOF_MAX_IOV = 1024,          /* iovecs the kernel takes at once (IOV_MAX) */
};

struct vof_queue {
    pthread_mutex_t lock;
    int fd;
    pid_t owner; /* a child made by fork must not end its parent's connection */
    vof_on_lost *on_lost;
    void *context;
    int64_t tick;

    /* The end. */
    _Atomic int failure; /* enum vof_failure */
    char reason[VOF_REASON_SIZE];
    bool torn_down;   /* or about to be: by one thread alone */
    bool handed_back; /* what was in flight, or about to be: another connection may follow */

    /* In flight, by command id. */
    struct vof_request **table;
    uint32_t ids;
    uint64_t sequence;

    /* Ids and room: bit set in `free_ids` means free. */
    uint64_t *free_ids;
    uint32_t size;
    int64_t room; /* less than none where the queue was made smaller under what is in flight */
    pthread_cond_t room_changed;
    unsigned room_waiters;

    /* Sending. */
    struct vof_request *outbox, **outbox_end;
    bool sending;
    atomic_bool blocked; /* who sends waits for room in the socket */
    int64_t no_yield_until; /* of who sends; see give_way */
    pthread_cond_t sending_ended;

    /* Receiving. */
    bool leading;
    struct vof_request *followers, *last_follower;
    struct vof_completion_parser parser;
    struct vof_request *arrived; /* of the receive in progress, by next_out, newest first */
    uint8_t *scratch;
    int64_t received_at; /* CLOCK_MONOTONIC, when a receive has brought something */

    /* Asynchronous events: what a completion without a command lands in. */
    bool takes_events;
    struct vof_landing event;
    _Atomic uint64_t config_changes;

    struct vof_queue *next_queue, **place; /* see fork.c */

    struct vof_statistics statistics; /* of sends by who sends, the others under `lock` or leading */
    struct vof_count counts[VOF_KINDS]; /* under `lock` */
};

/* End a request and wake its waiter: it is not to be touched afterwards. Not under `lock`. */
void vof_request_finish(struct vof_queue *queue, struct vof_request *request,
                        enum vof_outcome outcome);

/* Note the failure and end the connection for both directions; someone will tear down. False where
 * it has failed before. */
__attribute__((format(printf, 3, 4))) bool
vof_queue_mark_failed(struct vof_queue *queue, enum vof_failure failure, const char *format, ...);

/* The same, under `lock`. */
__attribute__((format(printf, 3, 4))) bool
vof_queue_mark_failed_locked(struct vof_queue *queue, enum vof_failure failure, const char *format,
                             ...);

/* Let a receive that finds nothing return after the tick. */
void vof_queue_apply_tick(const struct vof_queue *queue);

/* Hand back what is in flight; by who leads, after vof_queue_mark_failed. */
void vof_queue_tear_down(struct vof_queue *queue);

/* As vof_queue_receive, but a failure is only marked, for the caller to see. */
bool vof_queue_pump(struct vof_queue *queue, bool nonblocking);

/* As vof_queue_release_lead, but for a sender, which has to end before the queue is torn down. */
void vof_queue_pass_lead(struct vof_queue *queue);

/* Send what the outbox holds, unless another thread is at it. */
void vof_queue_send_outbox(struct vof_queue *queue);

/* Have a child made by fork find the queue in a state in which it can be ended. */
void vof_queue_watch_forks(struct vof_queue *queue);
void vof_queue_forget_forks(struct vof_queue *queue);

static inline struct vof_request *vof_request_of(struct vof_landing *landing)
{
    return (struct vof_request *)((char *)landing - offsetof(struct vof_request, landing));
}

static inline bool vof_queue_has_failed(struct vof_queue *queue)
{
    return atomic_load_explicit(&queue->failure, memory_order_acquire) != VOF_ALIVE;
}

#endif
