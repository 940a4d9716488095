/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who receives: of those who wait, one at a time leads and receives for all, and the others follow.
 */
#ifndef VOF_LEAD_H
#define VOF_LEAD_H

#include <stdbool.h>

#include "initiator/request.h"

/* For those who do not wait in a thread: take the lead if nobody has it (true), or be woken, once,
 * from any thread, when the request is done or the lead is theirs: vof_queue_leads tells. One that
 * is done already is neither led nor followed: false, and woken at once. */
bool vof_queue_lead_or_follow(struct vof_queue *queue, struct vofi_request *request,
                              void (*wake)(void *waker), void *waker);

/* Take the lead if nobody has it. vof_queue_release_lead ends it. */
bool vof_queue_try_lead(struct vof_queue *queue);

/* For the other parts of the queue. */

/* As vof_queue_release_lead, but for a sender, which has to end before the queue is torn down. */
void vof_queue_pass_lead(struct vof_queue *queue);

#endif
