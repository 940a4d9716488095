/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The followers of a queue, who sleep until their request is done or the lead is theirs: for the
 * other parts of the queue, whose hot path this is. All but the waking is done under `lock`.
 */
#ifndef VOF_FOLLOWERS_H
#define VOF_FOLLOWERS_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "initiator/queue_state.h"

static inline void vof_queue_follow(struct vof_queue *queue, struct vofi_request *request,
                                    void (*wake)(void *), void *waker)
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

static inline void vof_queue_unfollow(struct vof_queue *queue, struct vofi_request *request)
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

/* Change a request's state; once unlocked, vof_wake_up wakes who follows it. The request may be
 * gone by then: only its address is used. */
struct vof_woken {
    _Atomic uint32_t *state;
    void (*wake)(void *waker);
    void *waker;
};

static inline struct vof_woken vof_change_state(struct vof_queue *queue,
                                                struct vofi_request *request, uint32_t state)
{
    struct vof_woken woken = {NULL, NULL, NULL};
    if (request->following) {
        vof_queue_unfollow(queue, request);
        woken = (struct vof_woken){&request->state, request->wake, request->waker};
    }
    atomic_store_explicit(&request->state, state, memory_order_release);
    return woken;
}

static inline void vof_wake_up(struct vof_woken woken)
{
    if (woken.wake)
        woken.wake(woken.waker);
    else if (woken.state)
        syscall(SYS_futex, woken.state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
