/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A stream virtqueue's connection, as its initiator sees it: the native twin of
 * vof.fabric.tcp.queue.TcpQueue.
 *
 * Owns its transport, the table of commands in flight, the order of sends, and who receives: of
 * those who wait, one at a time leads and receives for all (leader and followers), straight into
 * the callers' memory. There is no thread of its own. Nothing is allocated for a request.
 * Every function may be called from any thread unless it says otherwise.
 *
 * A child made by fork has its parent's queues, but none of the threads that were in them: it may
 * end them and free them, which closes its own copy of the connection and leaves the parent's alone.
 *
 * Here is its life. room.h gives out its command ids, sending.h takes requests, waiting.h waits for
 * them, driving.h receives for those that nobody waits for; who does not wait in a thread uses
 * lead.h and round.h. ending.h says how it ends,
 * handover.h how it goes on, and statistics.h what it has done.
 *
 * Must not know what the commands mean, how the transport carries their bytes, nor Python.
 */
#ifndef VOF_QUEUE_H
#define VOF_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "initiator/handover.h"
#include "initiator/transport.h"
#include "wire.h"

/* Make a queue over `transport`, which belongs to it from now on. `size` is the room: descriptors
 * that may be in flight, commands in v5. NULL without memory: then the transport is not taken. */
struct vof_queue *vof_queue_new(struct vof_transport *transport, enum vof_framing framing,
                                uint16_t size, vof_on_lost *on_lost, void *context);

/* Free it. It has ended, and no thread is in any of its functions. */
void vof_queue_free(struct vof_queue *queue);

void vof_queue_accept_refusals_with_buffers(struct vof_queue *queue);

/* Take asynchronous events from now on: without this their command ids are a violation. How often
 * the target has said since that its device's config space changed. */
void vof_queue_accept_events(struct vof_queue *queue);
uint64_t vof_queue_config_changes(const struct vof_queue *queue);

/* Nanoseconds after which a receive that finds nothing returns to look at deadlines; 0: never. */
void vof_queue_set_tick(struct vof_queue *queue, int64_t nanoseconds);

/* What to poll for input, for who leads and has received what there was; -1 once it has ended. */
int vof_queue_fd(const struct vof_queue *queue);

#endif
