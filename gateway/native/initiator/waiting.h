/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Waiting for a request, asleep or by receiving for all.
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

#endif
