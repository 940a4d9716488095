/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Waiting for a request, asleep or by receiving for all. Who has none to wait for drives: see
 * driving.h.
 */
#ifndef VOF_WAITING_H
#define VOF_WAITING_H

#include <stdbool.h>

#include "initiator/request.h"

/* Return true when the request is done; or, if `interruptible`, false when a signal came first. */
bool vof_queue_wait(struct vof_queue *queue, struct vofi_request *request, bool interruptible);

/* After having been woken (see vof_queue_lead_or_follow): whether the request is not done and the
 * lead is the caller's. */
bool vof_queue_leads(struct vof_queue *queue, struct vofi_request *request);

/* For the other parts of the queue. */

enum vof_waited {
    VOF_WAITED,             /* the request is done */
    VOF_WAIT_INTERRUPTED,   /* by a signal */
    VOF_WAIT_OVER,          /* CLOCK_MONOTONIC has reached `until` */
};

/* Wait for a request; or with `until` for one that is not sent, but holds a place among those who
 * wait, and has `until` as its deadline where it has one. */
enum vof_waited vof_queue_wait_until(struct vof_queue *queue, struct vofi_request *request,
                                     int64_t until, bool interruptible);

#endif
