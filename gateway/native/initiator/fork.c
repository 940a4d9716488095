/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Queues across a fork. The child has a copy of everything but of the threads: locks that they held
 * stay locked, and a lead or a send of theirs never ends. So no lock is held while the process
 * forks, and in the child nobody leads, sends or waits.
 */
#include "initiator/fork.h"

#include <stddef.h>

#include "initiator/queue_state.h"

/* Guards the list and is taken before the queues' own locks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vof_queue *queues;

static void before(void)
{
    pthread_mutex_lock(&lock);
    for (struct vof_queue *queue = queues; queue; queue = queue->next_queue)
        pthread_mutex_lock(&queue->lock);
}

static void after_in_parent(void)
{
    for (struct vof_queue *queue = queues; queue; queue = queue->next_queue)
        pthread_mutex_unlock(&queue->lock);
    pthread_mutex_unlock(&lock);
}

static void leave_to_parent(struct vof_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->room_changed, NULL);
    pthread_cond_init(&queue->sending_ended, NULL);
    queue->room_waiters = 0;
    queue->leading = queue->sending = false;
    queue->delivering = queue->deferred = false;
    atomic_store(&queue->receiver, 0);
    queue->torn_down = queue->handed_over; /* what was begun, nobody goes on with */
    atomic_store(&queue->blocked, false);
    queue->outbox = NULL;
    queue->outbox_end = &queue->outbox;
    for (struct vofi_request *each = queue->followers; each; each = each->next)
        each->following = false;
    queue->followers = queue->last_follower = NULL;
}

static void after_in_child(void)
{
    for (struct vof_queue *queue = queues; queue; queue = queue->next_queue)
        leave_to_parent(queue);
    pthread_mutex_init(&lock, NULL);
}

static void begin(void)
{
    pthread_atfork(before, after_in_parent, after_in_child);
}

void vof_queue_watch_forks(struct vof_queue *queue)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
    queue->next_queue = queues;
    queue->place = &queues;
    if (queues)
        queues->place = &queue->next_queue;
    queues = queue;
    pthread_mutex_unlock(&lock);
}

void vof_queue_forget_forks(struct vof_queue *queue)
{
    pthread_mutex_lock(&lock);
    *queue->place = queue->next_queue;
    if (queue->next_queue)
        queue->next_queue->place = queue->place;
    pthread_mutex_unlock(&lock);
}
