/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Deadlines of requests: one that has passed is the end of the queue. Each who waits looks at its
 * own; who leads looks at those that nobody waits for.
 */
#ifndef VOF_DEADLINES_H
#define VOF_DEADLINES_H

#include "initiator/request.h"

/* End the queue if the request's deadline has passed. */
void vof_queue_check_deadline(struct vof_queue *queue, struct vofi_request *request);
/* The same where the caller knows that it has. */
void vof_queue_expire(struct vof_queue *queue, struct vofi_request *request);

/* For the other parts of the queue. */

/* Look at the unattended ones, now and then; by who leads. */
void vof_queue_check_unattended(struct vof_queue *queue);

#endif
