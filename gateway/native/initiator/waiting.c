/* SPDX-License-Identifier: BSD-3-Clause
 *
 * At depth 1 the thread that waits is the one that reads the socket, so no request pays for a
 * hand-over.
 */
#include "initiator/waiting.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/deadlines.h"
#include "initiator/ending.h"
#include "initiator/followers.h"
#include "initiator/lead.h"
#include "initiator/queue_state.h"
#include "initiator/round.h"

enum slept { WOKEN, TIMED_OUT, INTERRUPTED };

/* Sleep until the state is another than FLIGHT, the deadline may have passed, or a signal came. */
static enum slept sleep_on(struct vofi_request *request)
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

/* Of one that is woken: take the lead if it was given; under `lock`. */
static bool take_given_lead(struct vofi_request *request)
{
    bool given = request->given_lead;
    request->given_lead = false;
    if (!vofi_request_done(request))
        atomic_store_explicit(&request->state, VOF_STATE_FLIGHT, memory_order_relaxed);
    return given;
}

bool vof_queue_leads(struct vof_queue *queue, struct vofi_request *request)
{
    pthread_mutex_lock(&queue->lock);
    bool leads = take_given_lead(request);
    bool done = vofi_request_done(request);
    pthread_mutex_unlock(&queue->lock);
    if (leads && done) {
        vof_queue_release_lead(queue);
        return false;
    }
    return leads;
}

/* Give up the lead of a queue that was torn down while a request is kept, to be sent again over
 * another connection: there is nothing to receive until then. */
static bool step_down(struct vof_queue *queue, struct vofi_request *request)
{
    pthread_mutex_lock(&queue->lock);
    bool stepped_down = queue->torn_down && !vofi_request_done(request);
    if (stepped_down) {
        queue->leading = false;
        vof_queue_follow(queue, request, NULL, NULL);
    }
    pthread_mutex_unlock(&queue->lock);
    return stepped_down;
}

/* Leave the followers before the request is done. False where the request is done. */
static bool leave(struct vof_queue *queue, struct vofi_request *request)
{
    pthread_mutex_lock(&queue->lock);
    if (request->following)
        vof_queue_unfollow(queue, request);
    bool led = take_given_lead(request);
    bool done = vofi_request_done(request);
    pthread_mutex_unlock(&queue->lock);
    if (led)
        vof_queue_release_lead(queue);
    return !done;
}

enum led { FINISHED, STEPPED_DOWN, SIGNALLED, OVER };

/* Receive for all until the request is done. */
static enum led lead(struct vof_queue *queue, struct vofi_request *request, int64_t until,
                     bool interruptible)
{
    enum led led = FINISHED;
    while (!vofi_request_done(request) && led == FINISHED) {
        bool undisturbed = until ? vof_queue_receive_until(queue, until)
                                 : vof_queue_receive(queue, false);
        if (vofi_request_done(request))
            break;
        if (step_down(queue, request))
            return STEPPED_DOWN;
        if (until && vof_now() >= until)
            led = OVER;
        if (!until)
            vof_queue_check_deadline(queue, request);
        if (!undisturbed && interruptible)
            led = SIGNALLED;
    }
    vof_queue_release_lead(queue);
    return led;
}

enum vof_waited vof_queue_wait_until(struct vof_queue *queue, struct vofi_request *request,
                                     int64_t until, bool interruptible)
{
    bool leads = !vofi_request_done(request) &&
                 vof_queue_lead_or_follow(queue, request, NULL, NULL);
    while (leads || !vofi_request_done(request)) {
        if (leads) {
            leads = false;
            enum led led = lead(queue, request, until, interruptible);
            if (led == SIGNALLED)
                return VOF_WAIT_INTERRUPTED;
            if (led == OVER)
                return VOF_WAIT_OVER;
            continue;
        }
        enum slept slept = sleep_on(request);
        if (slept == WOKEN) /* the request is done, or the lead is ours */
            leads = vof_queue_leads(queue, request);
        else if (slept == TIMED_OUT && !until) /* yet lent until the leader has let go of it */
            vof_queue_check_deadline(queue, request);
        else if (slept == TIMED_OUT && leave(queue, request))
            return VOF_WAIT_OVER;
        else if (slept == INTERRUPTED && interruptible && leave(queue, request))
            return VOF_WAIT_INTERRUPTED;
    }
    /* Ended by who kept it, after the lead was given to us. */
    if (request->given_lead)
        vof_queue_leads(queue, request);
    if (vof_queue_has_failed(queue))
        vof_queue_settle(queue);
    return VOF_WAITED;
}

bool vof_queue_wait(struct vof_queue *queue, struct vofi_request *request, bool interruptible)
{
    return vof_queue_wait_until(queue, request, 0, interruptible) == VOF_WAITED;
}
