/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Queues across a fork: for the other parts of the queue.
 */
#ifndef VOF_FORK_H
#define VOF_FORK_H

struct vof_queue;

/* Have a child made by fork find the queue in a state in which it can be ended. */
void vof_queue_watch_forks(struct vof_queue *queue);
void vof_queue_forget_forks(struct vof_queue *queue);

#endif
