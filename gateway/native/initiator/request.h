/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A request of the queue's. It belongs to its caller and is lent, with all it points to, from its
 * submission until it is done. Then nothing touches it any more.
 */
#ifndef VOF_INITIATOR_REQUEST_H
#define VOF_INITIATOR_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "initiator/completion_parser.h"

struct vof_queue;

enum vof_outcome {
    VOF_IN_FLIGHT,
    VOF_ARRIVED, /* its completion came: see `landing` */
    VOF_LOST,    /* it was ended without one */
};

struct vofi_request {
    /* Set by the caller. */
    const char *what;    /* the command's name, for messages */
    struct iovec *out;   /* the bytes of the command; kept, so that it can be sent once more */
    unsigned out_count;
    struct vof_landing landing;
    int64_t timeout;     /* nanoseconds until the queue is given up for its sake; 0: never */
    uint8_t kind;        /* what it is counted as, below VOF_KINDS */
    uint64_t data_bytes; /* that are counted once it is answered */
    bool unattended;     /* nobody waits for it: who leads looks at its deadline */
    /* Called once, by whichever thread ended the request, which nothing touches any more. Who waits
     * for it may have seen that before: `owner` has to outlive both. No lock is held. May submit to
     * the same queue, this request again as well, unless it is lost; must not block, nor wait for a
     * request. May be NULL. */
    void (*on_done)(void *owner);
    void *owner;

    /* The engine's. */
    enum vof_outcome outcome;
    /* CLOCK_MONOTONIC, 0: none, or none any more: it has passed, or the request is not in flight. */
    _Atomic int64_t deadline;
    uint64_t sequence;              /* order of submission */
    int64_t submitted_at;           /* CLOCK_MONOTONIC, for the first time */
    _Atomic uint32_t state;         /* see queue_state.h; also the futex of who sleeps on it */
    atomic_bool sent;               /* its sender has let go of it */
    struct vofi_request *next_out;   /* in the outbox, among what arrived, or what is handed over */
    struct vofi_request *previous, *next; /* among the followers */
    bool following, given_lead;
    void (*wake)(void *waker); /* of a follower that is no thread */
    void *waker;
};

static inline bool vofi_request_done(const struct vofi_request *request)
{
    return atomic_load_explicit(&request->state, memory_order_acquire) == 1;
}

/* For the other parts of the queue. */

/* End a request and wake its waiter: it is not to be touched afterwards. Not under the lock. */
void vofi_request_finish(struct vof_queue *queue, struct vofi_request *request,
                         enum vof_outcome outcome);

#endif
