/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A stream virtqueue's connection, as its initiator sees it: the native twin of
 * vof.fabric.tcp.TcpQueue (and of the ids and the room in it that vof.fabric.room gives out).
 *
 * Owns the socket, the table of commands in flight, the order of sends, and who receives: of those
 * who wait, one at a time leads and receives for all (leader and followers), straight into the
 * callers' memory. There is no thread of its own. Nothing is allocated for a request.
 * Every function may be called from any thread unless it says otherwise.
 *
 * A child made by fork has its parent's queues, but none of the threads that were in them: it may
 * end them and free them, which closes its own copy of the connection and leaves the parent's alone.
 *
 * A request belongs to its caller and is lent, with all it points to, from its submission until it
 * is done. Then nothing touches it any more.
 *
 * Must not know what the commands mean, nor Python.
 */
#ifndef VOF_QUEUE_H
#define VOF_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "counts.h"
#include "initiator/completion_parser.h"

struct vof_queue;

enum vof_outcome {
    VOF_IN_FLIGHT,
    VOF_ARRIVED, /* its completion came: see `landing` */
    VOF_LOST,    /* it was ended without one */
};

struct vof_request {
    /* Set by the caller. */
    const char *what;    /* the command's name, for messages */
    struct iovec *out;   /* the bytes of the command; kept, so that it can be sent once more */
    unsigned out_count;
    struct vof_landing landing;
    int64_t timeout;     /* nanoseconds until the queue is given up for its sake; 0: never */
    uint8_t kind;        /* what it is counted as, below VOF_KINDS */
    uint64_t data_bytes; /* that are counted once it is answered */
    /* Called once, by whichever thread ended the request, which nothing touches any more. Who waits
     * for it may have seen that before: `owner` has to outlive both. May be NULL; must not block. */
    void (*on_done)(void *owner);
    void *owner;

    /* The engine's. */
    enum vof_outcome outcome;
    /* CLOCK_MONOTONIC, 0: none, or none any more: it has passed, or the request is not in flight. */
    _Atomic int64_t deadline;
    uint64_t sequence;              /* order of submission */
    int64_t submitted_at;           /* CLOCK_MONOTONIC, for the first time */
    _Atomic uint32_t state;         /* see queue_internal.h; also the futex of who sleeps on it */
    atomic_bool sent;               /* its sender has let go of it */
    struct vof_request *next_out;   /* in the outbox, among what arrived, or what is handed back */
    struct vof_request *previous, *next; /* among the followers */
    bool following, given_lead;
    void (*wake)(void *waker); /* of a follower that is no thread */
    void *waker;
};

enum vof_failure {
    VOF_ALIVE,
    VOF_CONNECTION_LOST, /* `reason` says how */
    VOF_VIOLATION,       /* the target broke the protocol: `reason` */
    VOF_ENDED_HERE,      /* by vof_queue_end_here */
};

enum { VOF_REASON_SIZE = 200, VOF_KINDS = 32 };

struct vof_statistics {
    uint64_t submitted, completed;       /* requests */
    uint64_t sends, receives;            /* system calls that moved something */
    uint64_t bytes_sent, bytes_received;
    uint64_t led, followed;              /* waits that received themselves, and those that slept */
};

/* Called once for each connection, when it has failed and nothing touches the buffers of what was
 * in flight: each request of the list (by next_out, in the order of submission) is to be ended by
 * vof_queue_end or kept for vof_queue_resubmit. */
typedef void vof_on_lost(struct vof_queue *queue, void *context, struct vof_request *in_flight);

/* Make a queue over the connected, blocking socket `fd`, which belongs to it from now on. `size`
 * is the number of descriptors that may be in flight. NULL without memory: then `fd` is not taken. */
struct vof_queue *vof_queue_new(int fd, enum vof_framing framing, uint16_t size,
                                vof_on_lost *on_lost, void *context);

/* Free it. It has ended, and no thread is in any of its functions. */
void vof_queue_free(struct vof_queue *queue);

/* Say how many descriptors may be in flight from now on. False without memory for more. */
bool vof_queue_resize(struct vof_queue *queue, uint32_t size);

/* Command ids there are: those from here on cannot be submitted. */
uint32_t vof_queue_ids(struct vof_queue *queue);

void vof_queue_accept_refusals_with_buffers(struct vof_queue *queue);

/* Take asynchronous events from now on: without this their command ids are a violation. How often
 * the target has said since that its device's config space changed. */
void vof_queue_accept_events(struct vof_queue *queue);
uint64_t vof_queue_config_changes(const struct vof_queue *queue);

/* Nanoseconds after which a receive that finds nothing returns to look at deadlines; 0: never. */
void vof_queue_set_tick(struct vof_queue *queue, int64_t nanoseconds);

/* Take room for `descriptors` and return the lowest free command id; -1 if there is none and
 * `wait` is false. A thread with requests in flight must not wait: it may be the one to receive. */
int vof_queue_take_id(struct vof_queue *queue, uint32_t descriptors, bool wait);
void vof_queue_give_back_id(struct vof_queue *queue, uint16_t id, uint32_t descriptors);

/* Send requests, whose command ids must not be in flight, together. False if the queue had ended
 * before they were taken; afterwards each carries its own outcome. */
bool vof_queue_submit(struct vof_queue *queue, struct vof_request *const *requests, unsigned count);

/* Return true when the request is done; or, if `interruptible`, false when a signal came first. */
bool vof_queue_wait(struct vof_queue *queue, struct vof_request *request, bool interruptible);

static inline bool vof_request_done(const struct vof_request *request)
{
    return atomic_load_explicit(&request->state, memory_order_acquire) == 1;
}

/* For those who do not wait in a thread: take the lead if nobody has it (true), or be woken, once,
 * from any thread, when the request is done or the lead is theirs: vof_queue_leads tells. One that
 * is done already is neither led nor followed: false, and woken at once. */
bool vof_queue_lead_or_follow(struct vof_queue *queue, struct vof_request *request,
                              void (*wake)(void *waker), void *waker);
/* After having been woken: whether the request is not done and the lead is the caller's. */
bool vof_queue_leads(struct vof_queue *queue, struct vof_request *request);
bool vof_queue_try_lead(struct vof_queue *queue);
void vof_queue_release_lead(struct vof_queue *queue);

/* Receive once, for who leads; without waiting if `nonblocking`. False where a signal came. */
bool vof_queue_receive(struct vof_queue *queue, bool nonblocking);

/* End the queue if the request's deadline has passed. */
void vof_queue_check_deadline(struct vof_queue *queue, struct vof_request *request);
void vof_queue_expire(struct vof_queue *queue, struct vof_request *request);

/* End the queue, without blocking. vof_queue_settle is to follow: then what is in flight goes to
 * on_lost, now or by the thread that leads. True where it is this call that has ended the queue. */
bool vof_queue_end_here(struct vof_queue *queue);

/* Finish the end of a queue that has failed, if nobody else is about to. */
void vof_queue_settle(struct vof_queue *queue);

/* Notice, without blocking, that the connection has ended while nobody waited on it. */
void vof_queue_look(struct vof_queue *queue);

enum vof_failure vof_queue_failure(struct vof_queue *queue);
/* The same, together with the reason. */
enum vof_failure vof_queue_reason(struct vof_queue *queue, char reason[VOF_REASON_SIZE]);

/* End a request that on_lost was given. */
void vof_queue_end(struct vof_queue *queue, struct vof_request *request);

/* Go on over another connection, once the last one was handed to on_lost and all it had in flight
 * is ended or about to be sent again. False if the queue has not ended, or is still ending. A
 * request that is kept has no deadline; from its resubmission on it has all of its timeout. */
bool vof_queue_attach(struct vof_queue *queue, int fd);

/* Send a request that on_lost was given once more, over the connection attached since. */
bool vof_queue_resubmit(struct vof_queue *queue, struct vof_request *request);

int vof_queue_fd(const struct vof_queue *queue); /* valid for who leads; -1 once it has ended */

struct vof_activity {
    uint64_t in_flight; /* requests submitted and not done */
    unsigned followers, waiting_for_room;
    bool leading, sending;
};

void vof_queue_activity(struct vof_queue *queue, struct vof_activity *activity);
void vof_queue_statistics(struct vof_queue *queue, struct vof_statistics *statistics);

/* What was done so far, by kind. That a device has failed a request of `kind`, which was answered,
 * its caller says. */
void vof_queue_counts(struct vof_queue *queue, struct vof_count counts[VOF_KINDS]);
void vof_queue_count_failed(struct vof_queue *queue, uint8_t kind);

#endif
