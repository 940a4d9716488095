/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Forms the command of a virtqueue's request as each framing has it: the native twin of
 * vof.wire.framing, for requests of a header, data in one direction, and a tail.
 *
 * Owns how such a request is divided into descriptors, and that its landing is divided alike. Pure:
 * no I/O, no locks, no allocation. Must not know what header, data and tail mean, nor the queue.
 *
 * Implements the proposal's examples 1.1 and 1.2, the descriptors of v2, and v5's "VQ Command".
 */
#ifndef VOF_INITIATOR_FRAMING_H
#define VOF_INITIATOR_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "initiator/completion_parser.h"
#include "wire.h"

/* Bytes of each part, which is not longer than its virtqueue allows. */
struct vof_shape {
    uint32_t header;   /* read by the device */
    uint32_t length;   /* of the data */
    bool data_out;     /* the device reads it, too; otherwise it writes it */
    uint32_t size_max; /* of one descriptor of the data */
    uint32_t tail;     /* written by the device */
};

/* Bytes that a command takes at most whose data is in so many descriptors; the header follows. */
#define VOF_FRAMED_SIZE(segments) (VOF_COMMAND_SIZE + ((segments) + 2) * VOF_DESCRIPTOR_SIZE)

/* Write the command, yet without an id, and return how many bytes it has: the header and the data
 * that the device reads follow it. `room` is what it takes in its queue. */
size_t vof_frame_command(uint8_t *command, enum vof_framing framing, const struct vof_shape *shape,
                         struct vof_landing *landing, uint16_t *room);

/* Give it an id. */
void vof_frame_id(uint8_t *command, struct vof_landing *landing, uint16_t id);

/* Have its answer land in `data` and `tail`; `writable` has room for the segments and the tail. */
void vof_frame_landing(struct vof_landing *landing, const struct vof_shape *shape,
                       struct iovec *writable, void *data, void *tail);

#endif
