/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A queue that outlives its connection: what was in flight is handed over, and the queue goes on
 * over another one. For who looks after the session, whose decision all of it is.
 *
 * In order: the connection fails, for any reason (ending.h); nobody sends or receives any more; what
 * was in flight is handed over, once. Each of it is ended, at once or later, or kept; who waits for
 * it does not notice. When there is another connection, the queue is attached to it, and what was
 * kept is sent again, together with what is new.
 *
 * Owns that order. Must not know why a connection was lost, whether and when there is another, and
 * which requests may be sent twice.
 */
#ifndef VOF_HANDOVER_H
#define VOF_HANDOVER_H

#include <stdbool.h>

#include "initiator/request.h"
#include "initiator/transport.h"

/* Called once for each connection, when it has failed and nothing touches the buffers of what was
 * in flight. Each request of the list (by next_out, in the order of first submission) belongs to
 * the callee until it is given to vof_queue_end or vof_queue_resubmit, which both change its
 * next_out. No lock is held, and the caller leads: nothing is received meanwhile. So the callee may
 * attach and resubmit right here, but must not wait for a request. */
typedef void vof_on_lost(struct vof_queue *queue, void *context, struct vofi_request *in_flight);

/* End a request that on_lost was given: it is lost. Whether or not there is a connection. */
void vof_queue_end(struct vof_queue *queue, struct vofi_request *request);

/* Go on over another connection, once on_lost was called for the last one. False if the queue has
 * not ended, or is still ending: then the transport is not taken. From here on new requests are
 * taken; the ids of those that are kept stay theirs. */
bool vof_queue_attach(struct vof_queue *queue, struct vof_transport *transport);

/* Send a request that on_lost was given once more, over the connection attached since. It has all
 * of its timeout from now on; while it was kept it had no deadline. False, and it still belongs to
 * the caller, if the queue has ended again. */
bool vof_queue_resubmit(struct vof_queue *queue, struct vofi_request *request);

/* For the other parts of the queue. */

/* Use the transport from now on; under the lock, or of a queue that nobody else knows yet. */
void vof_queue_use(struct vof_queue *queue, struct vof_transport *transport);

#endif
