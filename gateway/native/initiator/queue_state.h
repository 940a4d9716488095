/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a queue: for its own parts only, see queue.h for the rest of the world. Each part is
 * a file that calls those before it alone:
 *
 *     tcp.c                           the connection: knows transport.h alone, and no queue
 *     room.c, statistics.c, fork.c    command ids; what was done; a child made by fork
 *     request.c                       ends a request
 *     lead.c                          who receives for all: takes the lead, passes it on
 *     in_flight.c                     where a request is while it is lent
 *     ending.c, deadlines.c           marks a failure, tears down the connection
 *     receiving.c                     receives
 *     sending.c                       sends, and receives while it has to wait
 *     handover.c                      goes on over another connection
 *     round.c                         what who leads does
 *     waiting.c, driving.c            waits, and leads meanwhile
 *     queue.c                         makes a queue and frees it
 *
 * `lock` guards the table, the outbox, the followers, the ids and the failure; it is never held
 * during a system call that can block or a callback. Who leads owns the parser, the scratch buffer
 * and, together with it, the right to receive and to tear down; who sends owns the order of sends.
 */
#ifndef VOF_QUEUE_STATE_H
#define VOF_QUEUE_STATE_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include "initiator/completion_parser.h"
#include "initiator/ending.h"
#include "initiator/handover.h"
#include "initiator/request.h"
#include "initiator/statistics.h"
#include "initiator/transport.h"

/* States of a request. */
enum {
    VOF_STATE_FLIGHT,
    VOF_STATE_DONE, /* vofi_request_done knows this number */
    VOF_STATE_LEAD, /* a follower that has been given the lead */
};

enum {
    VOF_SCRATCH_SIZE = 64 << 10, /* asked for at once where it is not yet known whose the bytes are */
};

struct vof_queue {
    pthread_mutex_t lock;
    struct vof_transport *transport; /* NULL once it is discarded */
    int fd;                          /* the transport's; -1 then */
    pid_t owner; /* a child made by fork must not end its parent's connection */
    vof_on_lost *on_lost;
    void *context;
    _Atomic int64_t tick; /* changed under `lock` */

    /* The end. */
    _Atomic int failure; /* enum vof_failure */
    char reason[VOF_REASON_SIZE];
    bool torn_down;   /* or about to be: by one thread alone */
    bool handed_over; /* what was in flight, or about to be: another connection may follow */

    /* In flight, by command id: see in_flight.h. */
    struct vofi_request **table;
    uint32_t ids;
    uint64_t sequence;

    /* Ids and room: bit set in `free_ids` means free. */
    uint64_t *free_ids;
    uint32_t size;
    int64_t room; /* less than none where the queue was made smaller under what is in flight */
    pthread_cond_t room_changed;
    unsigned room_waiters;

    /* Sending. */
    struct vofi_request *outbox, **outbox_end;
    bool sending;
    atomic_bool blocked; /* who sends waits until the transport takes more */
    int64_t no_yield_until; /* of who sends; see give_way in sending.c */
    pthread_cond_t sending_ended;

    /* Receiving. */
    bool leading;
    _Atomic pthread_t receiver; /* who leads, while it is in here; 0: it is not */
    bool delivering, deferred;  /* of who leads: it calls back; something was submitted meanwhile */
    struct vofi_request *followers, *last_follower;
    struct vof_completion_parser parser;
    struct vofi_request *arrived; /* of the receive in progress, by next_out, newest first */
    uint8_t *scratch;
    int64_t received_at; /* CLOCK_MONOTONIC, when a receive has brought something */
    _Atomic unsigned unattended; /* in flight that nobody waits for */
    int64_t next_look;           /* at their deadlines */

    /* Asynchronous events: what a completion without a command lands in. */
    bool takes_events;
    struct vof_landing event;
    _Atomic uint64_t config_changes;

    struct vof_queue *next_queue, **place; /* of fork.c */

    struct vof_statistics statistics; /* of sends by who sends, the others under `lock` or leading */
    struct vof_count counts[VOF_KINDS]; /* under `lock` */
};

static inline struct vofi_request *vofi_request_of(struct vof_landing *landing)
{
    return (struct vofi_request *)((char *)landing - offsetof(struct vofi_request, landing));
}

/* Whether the caller is in a call back of who leads: nobody else receives until it returns. */
static inline bool vof_queue_receives_here(struct vof_queue *queue)
{
    pthread_t receiver = atomic_load_explicit(&queue->receiver, memory_order_relaxed);
    return receiver && pthread_equal(receiver, pthread_self());
}

static inline bool vof_queue_has_failed(struct vof_queue *queue)
{
    return atomic_load_explicit(&queue->failure, memory_order_acquire) != VOF_ALIVE;
}

#endif
