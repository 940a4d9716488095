/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The requests in flight, for the other parts of the queue.
 *
 * Owns where a request is while it is lent, and how all of them leave at once. From its submission
 * on it is in the table, by its command id, and until it is sent in the outbox, too. When its
 * completion begins it leaves the table: then it is the parser's landing, and once its completion is
 * whole among what has arrived, until who leads ends it. Must not know why a connection ends.
 */
#ifndef VOF_IN_FLIGHT_H
#define VOF_IN_FLIGHT_H

#include <stdint.h>

#include "initiator/request.h"

/* Put a request into the table and the outbox, for the first time or again; its deadline counts
 * from `now`. Under the lock. */
void vof_queue_enter_flight(struct vof_queue *queue, struct vofi_request *request, int64_t now);

/* Take everything out of flight that is, wherever it is: a list by next_out, in the order of first
 * submission, of requests without a deadline. What is to become of them is for who takes them to
 * say: nothing here touches them any more, but they are not done and their waiters sleep on.
 * Under the lock, by who leads, while nobody sends; the stream from the target is over. */
struct vofi_request *vof_queue_hand_over(struct vof_queue *queue);

#endif
