/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sending requests.
 */
#ifndef VOF_SENDING_H
#define VOF_SENDING_H

#include <stdbool.h>

#include "initiator/request.h"

/* Send requests, whose command ids must not be in flight, together. False if the queue had ended
 * before they were taken; afterwards each carries its own outcome. */
bool vof_queue_submit(struct vof_queue *queue, struct vofi_request *const *requests,
                      unsigned count);

/* Send a request that on_lost was given once more, over the connection attached since. */
bool vof_queue_resubmit(struct vof_queue *queue, struct vofi_request *request);

#endif
