/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Large buffers of one queue: payloads and answers that do not fit where small ones go.
 *
 * Owns how many are kept for the next request, and gives all others back to the system at once, by
 * the page: what a queue costs is what vof-target(8), LIMITS, says. Must not know what is in them.
 * Used by one thread at a time.
 */
#ifndef VOF_TARGET_BUFFERS_H
#define VOF_TARGET_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VOF_MAX_WIDTH = 64 }; /* requests of one queue in progress: the largest `threads` */

/* `data` is NULL where there is no buffer. */
struct vof_buffer {
    uint8_t *data;
    size_t size;
};

struct vof_stash {
    size_t largest; /* bytes of a buffer that is kept */
    uint32_t keep;  /* how many, at most VOF_MAX_WIDTH */
    uint32_t count;
    struct vof_buffer kept[VOF_MAX_WIDTH];
};

/* Return at least `size` bytes, with whatever they hold; false where there is no memory. */
bool vof_buffer_take(struct vof_stash *stash, size_t size, struct vof_buffer *buffer);

/* Give a buffer back, which then is none; none is fine. */
void vof_buffer_give(struct vof_stash *stash, struct vof_buffer *buffer);

/* Keep nothing. */
void vof_stash_empty(struct vof_stash *stash);

#endif
