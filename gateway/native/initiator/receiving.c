/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Receiving, and who does it: of those who wait, one at a time leads and receives for all. At depth
 * 1 the thread that waits is the one that reads the socket, so no request pays for a hand-over.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/queue_internal.h"

enum slept { WOKEN, TIMED_OUT, INTERRUPTED };

/* Sleep until the state is another than FLIGHT, the deadline may have passed, or a signal came. */
static enum slept sleep_on(struct vof_request *request)
{
    while (atomic_load_explicit(&request->state, memory_order_acquire) == VOF_STATE_FLIGHT) {
        int64_t until = atomic_load_explicit(&request->deadline, memory_order_relaxed);
        /* One that is kept gets its next deadline while we sleep, but none before this. */
        if (!until && request->timeout)
            until = vof_now() + request->timeout;
        struct timespec limit = {until / 1000000000, until % 1000000000};
        long result = syscall(SYS_futex, &request->state, FUTEX_WAIT_BITSET_PRIVATE,
                              VOF_STATE_FLIGHT, until ? &limit : NULL, NULL,
                              FUTEX_BITSET_MATCH_ANY);
        if (result < 0 && errno == ETIMEDOUT)
            return TIMED_OUT;
        if (result < 0 && errno == EINTR)
            return INTERRUPTED;
    }
    return WOKEN;
}

static void wake_thread(_Atomic uint32_t *state)
{
    syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The followers, under `lock`. */

static void follow(struct vof_queue *queue, struct vof_request *request, void (*wake)(void *),
                   void *waker)
{
    request->wake = wake;
    request->waker = waker;
    request->following = true;
    request->next = NULL;
    request->previous = queue->last_follower;
    if (queue->last_follower)
        queue->last_follower->next = request;
    else
        queue->followers = request;
    queue->last_follower = request;
}

static void unfollow(struct vof_queue *queue, struct vof_request *request)
{
    request->following = false;
    if (request->previous)
        request->previous->next = request->next;
    else
        queue->followers = request->next;
    if (request->next)
        request->next->previous = request->previous;
    else
        queue->last_follower = request->previous;
}

/* Change a request's state; once unlocked, `woken` wakes who follows it. The request may be gone
 * by then: only its address is used. */
struct woken {
    _Atomic uint32_t *state;
    void (*wake)(void *waker);
    void *waker;
};

static struct woken change_state(struct vof_queue *queue, struct vof_request *request,
                                 uint32_t state)
{
    struct woken woken = {NULL, NULL, NULL};
    if (request->following) {
        unfollow(queue, request);
        woken = (struct woken){&request->state, request->wake, request->waker};
    }
    atomic_store_explicit(&request->state, state, memory_order_release);
    return woken;
}

static void wake_up(struct woken woken)
{
    if (woken.wake)
        woken.wake(woken.waker);
    else if (woken.state)
        wake_thread(woken.state);
}

/* Under `lock`. */
static void count(struct vof_queue *queue, const struct vof_request *request,
                  enum vof_outcome outcome)
{
    struct vof_count *count = &queue->counts[request->kind];
    if (outcome != VOF_ARRIVED) {
        count->requests++;
        count->lost++;
        return;
    }
    /* By who leads, which has received it. */
    vof_count_answered(count, queue->received_at - request->submitted_at);
    if (request->landing.completion.status)
        count->refused++;
    else
        count->data_bytes += request->data_bytes;
}

void vof_request_finish(struct vof_queue *queue, struct vof_request *request,
                        enum vof_outcome outcome)
{
    void (*on_done)(void *) = request->on_done;
    void *owner = request->owner;
    request->outcome = outcome;
    pthread_mutex_lock(&queue->lock);
    queue->statistics.completed++;
    count(queue, request, outcome);
    struct woken woken = change_state(queue, request, VOF_STATE_DONE);
    pthread_mutex_unlock(&queue->lock);
    if (on_done)
        on_done(owner);
    wake_up(woken);
}

/* Leading. */

bool vof_queue_try_lead(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    bool free = !queue->leading;
    queue->leading = true;
    pthread_mutex_unlock(&queue->lock);
    return free;
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

void vof_queue_pass_lead(struct vof_queue *queue)
{
    struct woken woken = {NULL, NULL, NULL};
    pthread_mutex_lock(&queue->lock);
    struct vof_request *next = queue->torn_down ? NULL : queue->followers;
    if (next) {
        next->given_lead = true;
        woken = change_state(queue, next, VOF_STATE_LEAD);
    } else {
        queue->leading = false;
    }
    pthread_mutex_unlock(&queue->lock);
    wake_up(woken);
}

bool vof_queue_lead_or_follow(struct vof_queue *queue, struct vof_request *request,
                              void (*wake)(void *waker), void *waker)
{
    pthread_mutex_lock(&queue->lock);
    bool done = vof_request_done(request);
    bool lead = !done && !queue->leading;
    if (lead)
        queue->leading = true;
    else if (!done)
        follow(queue, request, wake, waker);
    if (!done) {
        queue->statistics.led += lead;
        queue->statistics.followed += !lead;
    }
    pthread_mutex_unlock(&queue->lock);
    if (done && wake)
        wake(waker);
    return lead;
}

/* Of one that is woken: take the lead if it was given; under `lock`. */
static bool take_given_lead(struct vof_request *request)
{
    bool given = request->given_lead;
    request->given_lead = false;
    if (!vof_request_done(request))
        atomic_store_explicit(&request->state, VOF_STATE_FLIGHT, memory_order_relaxed);
    return given;
}

bool vof_queue_leads(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    bool leads = take_given_lead(request);
    bool done = vof_request_done(request);
    pthread_mutex_unlock(&queue->lock);
    if (leads && done) {
        vof_queue_release_lead(queue);
        return false;
    }
    return leads;
}

/* Give up the lead of a queue that was torn down while a request is kept, to be sent again over
 * another connection: there is nothing to receive until then. */
static bool step_down(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    bool stepped_down = queue->torn_down && !vof_request_done(request);
    if (stepped_down) {
        queue->leading = false;
        follow(queue, request, NULL, NULL);
    }
    pthread_mutex_unlock(&queue->lock);
    return stepped_down;
}

/* Leave the followers because of a signal. False where the request is done. */
static bool leave(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    if (request->following)
        unfollow(queue, request);
    bool led = take_given_lead(request);
    bool done = vof_request_done(request);
    pthread_mutex_unlock(&queue->lock);
    if (led)
        vof_queue_release_lead(queue);
    return !done;
}

enum led { FINISHED, STEPPED_DOWN, SIGNALLED };

/* Receive for all until the request is done. */
static enum led lead(struct vof_queue *queue, struct vof_request *request, bool interruptible)
{
    enum led led = FINISHED;
    while (!vof_request_done(request) && led == FINISHED) {
        bool undisturbed = vof_queue_receive(queue, false);
        if (vof_request_done(request))
            break;
        if (step_down(queue, request))
            return STEPPED_DOWN;
        vof_queue_check_deadline(queue, request);
        if (!undisturbed && interruptible)
            led = SIGNALLED;
    }
    vof_queue_release_lead(queue);
    return led;
}

bool vof_queue_wait(struct vof_queue *queue, struct vof_request *request, bool interruptible)
{
    bool leads = !vof_request_done(request) &&
                 vof_queue_lead_or_follow(queue, request, NULL, NULL);
    while (leads || !vof_request_done(request)) {
        if (leads) {
            leads = false;
            if (lead(queue, request, interruptible) == SIGNALLED)
                return false;
            continue;
        }
        enum slept slept = sleep_on(request);
        if (slept == WOKEN) /* the request is done, or the lead is ours */
            leads = vof_queue_leads(queue, request);
        else if (slept == TIMED_OUT) /* yet lent until the leader has let go of it */
            vof_queue_check_deadline(queue, request);
        else if (interruptible && leave(queue, request))
            return false;
    }
    /* Ended by who kept it, after the lead was given to us. */
    if (request->given_lead)
        vof_queue_leads(queue, request);
    if (vof_queue_has_failed(queue))
        vof_queue_settle(queue);
    return true;
}

/* Deadlines. */

/* Under `lock`. */
static void expire(struct vof_queue *queue, struct vof_request *request)
{
    double seconds = (double)request->timeout / 1e9;
    atomic_store_explicit(&request->deadline, 0, memory_order_relaxed);
    if (request->timeout)
        vof_queue_mark_failed_locked(queue, VOF_CONNECTION_LOST, "no answer to %s within %g s",
                                     request->what, seconds);
    else
        vof_queue_mark_failed_locked(queue, VOF_CONNECTION_LOST, "no answer to %s", request->what);
}

void vof_queue_expire(struct vof_queue *queue, struct vof_request *request)
{
    pthread_mutex_lock(&queue->lock);
    expire(queue, request);
    pthread_mutex_unlock(&queue->lock);
}

static bool has_expired(struct vof_request *request)
{
    int64_t deadline = atomic_load_explicit(&request->deadline, memory_order_relaxed);
    return deadline && vof_now() >= deadline;
}

void vof_queue_check_deadline(struct vof_queue *queue, struct vof_request *request)
{
    if (!has_expired(request))
        return;
    pthread_mutex_lock(&queue->lock);
    /* Looked at again: it may have been sent over another connection since. */
    if (has_expired(request))
        expire(queue, request);
    pthread_mutex_unlock(&queue->lock);
}

/* Receiving. */

static ssize_t receive_some(struct vof_queue *queue, int flags, size_t *direct)
{
    const struct iovec *buffers = NULL;
    unsigned count = vof_parser_wanted(&queue->parser, &buffers, direct);
    if (*direct < VOF_DIRECT_SIZE) {
        *direct = 0;
        return recv(queue->fd, queue->scratch, VOF_SCRATCH_SIZE, flags);
    }
    struct iovec parts[VOF_MAX_IOV / 4];
    unsigned most = sizeof parts / sizeof *parts - 1;
    struct msghdr message = {.msg_iov = parts};
    if (count > most) {
        count = most;
    } else {
        parts[count] = (struct iovec){queue->scratch, VOF_SCRATCH_SIZE};
        message.msg_iovlen = 1;
    }
    memcpy(parts, buffers, count * sizeof *parts);
    message.msg_iovlen += count;
    return recvmsg(queue->fd, &message, flags);
}

/* End those whose completions are whole, in the order in which they came. */
static void deliver(struct vof_queue *queue)
{
    struct vof_request *list = NULL;
    while (queue->arrived) {
        struct vof_request *request = queue->arrived;
        queue->arrived = request->next_out;
        request->next_out = list;
        list = request;
    }
    while (list) {
        struct vof_request *request = list;
        list = request->next_out;
        vof_request_finish(queue, request, VOF_ARRIVED);
    }
}

bool vof_queue_pump(struct vof_queue *queue, bool nonblocking)
{
    if (vof_queue_has_failed(queue))
        return true;
    size_t direct;
    ssize_t received = receive_some(queue, nonblocking ? MSG_DONTWAIT : 0, &direct);
    if (received < 0) {
        /* EAGAIN: nothing has come, or a tick has passed and the waiter looks at its deadline. */
        if (errno == EINTR)
            return false;
        if (errno != EAGAIN)
            vof_queue_mark_failed(queue, VOF_CONNECTION_LOST, "%s", strerror(errno));
        return true;
    }
    if (!received) {
        vof_queue_mark_failed(queue, VOF_CONNECTION_LOST, "closed by the target");
        return true;
    }
    size_t bytes = (size_t)received;
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
    return true;
}

bool vof_queue_receive(struct vof_queue *queue, bool nonblocking)
{
    bool undisturbed = vof_queue_pump(queue, nonblocking);
    if (vof_queue_has_failed(queue))
        vof_queue_tear_down(queue);
    return undisturbed;
}

void vof_queue_look(struct vof_queue *queue)
{
    if (!vof_queue_has_failed(queue) && vof_queue_try_lead(queue)) {
        vof_queue_receive(queue, true);
        vof_queue_release_lead(queue);
    }
}
