/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a queue's connection: why, and who sees to it. What becomes of the requests in flight
 * is in handover.h.
 */
#ifndef VOF_ENDING_H
#define VOF_ENDING_H

#include <stdbool.h>

#include "initiator/request.h"

enum vof_failure {
    VOF_ALIVE,
    VOF_CONNECTION_LOST, /* `reason` says how */
    VOF_NO_ANSWER,       /* a command's deadline has passed; `reason` says which */
    VOF_VIOLATION,       /* the target broke the protocol: `reason` */
    VOF_ENDED_HERE,      /* by vof_queue_end_here */
};

enum { VOF_REASON_SIZE = 200 };

enum vof_failure vof_queue_failure(struct vof_queue *queue);
/* The same, together with the reason. */
enum vof_failure vof_queue_reason(struct vof_queue *queue, char reason[VOF_REASON_SIZE]);

/* End the queue, without blocking. vof_queue_settle is to follow: then what is in flight goes to
 * on_lost, now or by the thread that leads. True where it is this call that has ended the queue. */
bool vof_queue_end_here(struct vof_queue *queue);

/* Finish the end of a queue that has failed, if nobody else is about to. */
void vof_queue_settle(struct vof_queue *queue);

/* Give up the lead: to a follower, if there is one. */
void vof_queue_release_lead(struct vof_queue *queue);

/* For the other parts of the queue. */

/* Note the failure and end the connection for both directions; someone will tear down. False where
 * it has failed before. */
__attribute__((format(printf, 3, 4))) bool
vof_queue_mark_failed(struct vof_queue *queue, enum vof_failure failure, const char *format, ...);

/* The same, under the lock. */
__attribute__((format(printf, 3, 4))) bool
vof_queue_mark_failed_locked(struct vof_queue *queue, enum vof_failure failure, const char *format,
                             ...);

/* Discard the transport and hand what is in flight to on_lost; by who leads, after
 * vof_queue_mark_failed. */
void vof_queue_tear_down(struct vof_queue *queue);

#endif
