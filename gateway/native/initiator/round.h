/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What who leads a queue does, once around: receives for all, sends what those who were called back
 * have submitted meanwhile, looks at deadlines, and tears down a queue that has failed.
 */
#ifndef VOF_ROUND_H
#define VOF_ROUND_H

#include <stdbool.h>
#include <stdint.h>

struct vof_queue;

/* Go round once, for who leads; without waiting if `nonblocking`. False where a signal came. */
bool vof_queue_receive(struct vof_queue *queue, bool nonblocking);

/* The same, but waits at most until CLOCK_MONOTONIC reaches `until`, and never much longer than a
 * second, whatever the tick. */
bool vof_queue_receive_until(struct vof_queue *queue, int64_t until);

/* Notice, without blocking, that the connection has ended while nobody waited on it. */
void vof_queue_look(struct vof_queue *queue);

#endif
