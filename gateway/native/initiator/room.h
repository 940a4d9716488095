/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command ids of a queue, and the room in it: the native twin of vof.fabric.room.
 */
#ifndef VOF_ROOM_H
#define VOF_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct vof_queue;

/* Take so much `room` and return the lowest free command id; -1 if there is none and
 * `wait` is false. A thread with requests in flight must not wait: it may be the one to receive. */
int vof_queue_take_id(struct vof_queue *queue, uint32_t room, bool wait);
void vof_queue_give_back_id(struct vof_queue *queue, uint16_t id, uint32_t room);

/* Say how much room there is from now on. False without memory for more. */
bool vof_queue_resize(struct vof_queue *queue, uint32_t size);

/* Command ids there are: those from here on cannot be submitted. */
uint32_t vof_queue_ids(struct vof_queue *queue);

/* For the other parts of the queue. */

/* Make the table and the ids large enough for `ids` of them; under the lock, or of a queue that
 * nobody else knows yet. False without memory for more. */
bool vof_queue_grow(struct vof_queue *queue, uint32_t ids);

#endif
