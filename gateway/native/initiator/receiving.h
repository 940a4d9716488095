/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Receiving, by who leads; and the deadlines of what is waited for.
 */
#ifndef VOF_RECEIVING_H
#define VOF_RECEIVING_H

#include <stdbool.h>

#include "initiator/request.h"

/* Receive once, for who leads; without waiting if `nonblocking`. False where a signal came. */
bool vof_queue_receive(struct vof_queue *queue, bool nonblocking);

/* Notice, without blocking, that the connection has ended while nobody waited on it. */
void vof_queue_look(struct vof_queue *queue);

/* End the queue if the request's deadline has passed. */
void vof_queue_check_deadline(struct vof_queue *queue, struct vofi_request *request);
void vof_queue_expire(struct vof_queue *queue, struct vofi_request *request);

/* For the other parts of the queue. */

/* As vof_queue_receive, but a failure is only marked, for the caller to see. */
bool vof_queue_pump(struct vof_queue *queue, bool nonblocking);

/* Have the queue's parser find what is in flight. */
void vof_queue_init_parser(struct vof_queue *queue, enum vof_framing framing);

#endif
