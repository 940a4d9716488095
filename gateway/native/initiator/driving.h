/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Driving a queue: receiving for all without a request of one's own to wait for. For who has
 * requests in flight that nobody waits for in a thread.
 *
 * The contract of all who use a queue: its answers are received, and the deadlines of what is
 * unattended are looked at, only while a thread waits, drives, or leads by itself (lead.h). So who
 * submits what nobody waits for sees to it that there is a driver until the last of it is done. Any
 * number may drive at once, beside those who wait; one of all of them receives, the others sleep.
 *
 * Must not know whose requests these are.
 */
#ifndef VOF_DRIVING_H
#define VOF_DRIVING_H

#include <stdbool.h>
#include <stdint.h>

#include "initiator/request.h"

/* A place among those who wait. Zeros before it is used first; of one thread that drives at a time. */
struct vof_driver {
    struct vofi_request place; /* never sent */
};

/* Offer to receive for all, until this driver is stopped: true; or until CLOCK_MONOTONIC reaches
 * `deadline`, which may be 0, never: false. It stays over the end of a connection, asleep, and goes
 * on with the next one. Call backs of all requests come from this thread while it receives, with no
 * lock held: see on_done in request.h. Not to be called from one. */
bool vof_queue_drive(struct vof_queue *queue, struct vof_driver *driver, int64_t deadline);

/* Have the drive that goes on return, or the next one if none does: once, however often this is
 * called until then. From any thread, call backs included. It returns soon; if it is just
 * receiving, and this is another thread, when something comes or at the next tick, within about a
 * second. The driver outlives every call of this but one: that which its last drive returned for. */
void vof_queue_stop(struct vof_queue *queue, struct vof_driver *driver);

#endif
