/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Receiving, by who leads: for the other parts of the queue. Who leads from elsewhere calls round.h.
 */
#ifndef VOF_RECEIVING_H
#define VOF_RECEIVING_H

#include <stdbool.h>

#include "wire.h"

struct vof_queue;

/* Receive once, and end what has arrived; without waiting if `nonblocking`. A failure is only
 * marked, for the caller to see. False where a signal came. */
bool vof_queue_pump(struct vof_queue *queue, bool nonblocking);

/* Have the queue's parser find what is in flight. */
void vof_queue_init_parser(struct vof_queue *queue, enum vof_framing framing);

#endif
