/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sending requests.
 */
#ifndef VOF_SENDING_H
#define VOF_SENDING_H

#include <stdbool.h>

#include "initiator/request.h"

/* Send requests, whose command ids must not be in flight, together. False if the queue had ended
 * before they were taken; afterwards each carries its own outcome. Waits until the transport has
 * taken them, unless another thread sends: then that one does. Within an on_done of the same queue
 * it never waits: they are sent when all that has arrived together is done. */
bool vof_queue_submit(struct vof_queue *queue, struct vofi_request *const *requests,
                      unsigned count);

/* For the other parts of the queue. */

/* Send what has just been put into flight, unless another thread is about to, and have somebody
 * receive for those who wait. Under the lock, which this gives up. */
void vof_queue_send_entered(struct vof_queue *queue);

/* Send what the outbox holds, unless another thread is at it. */
void vof_queue_send_outbox(struct vof_queue *queue);

#endif
