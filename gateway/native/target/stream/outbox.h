/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Completions on their way out: small ones are gathered and sent together.
 *
 * Owns the order on the stream, and that a peer which takes nothing is noticed: the socket's
 * SO_SNDTIMEO bounds every call. One thread sends on a connection, so there is no lock. Must not
 * know what the bytes say.
 */
#ifndef VOF_TARGET_STREAM_OUTBOX_H
#define VOF_TARGET_STREAM_OUTBOX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    VOF_OUTBOX_SIZE = 1 << 17,
    VOF_OUTBOX_FULL = 1 << 16, /* what has come this far is sent: it waited long enough */
};

struct vof_outbox {
    int fd;
    uint8_t *bytes; /* VOF_OUTBOX_SIZE of them, the caller's */
    size_t used;
};

/* Return room for `size` bytes, at most VOF_OUTBOX_SIZE, sending what is in their way; NULL where
 * that failed: `error` is the errno then, EAGAIN for a peer that took nothing. */
uint8_t *vof_outbox_room(struct vof_outbox *outbox, size_t size, int *error);

/* The bytes that were asked for last are written, the first `size` of them. */
static inline void vof_outbox_add(struct vof_outbox *outbox, size_t size)
{
    outbox->used += size;
}

/* Send everything. Returns 0 or an errno as above. */
int vof_outbox_flush(struct vof_outbox *outbox);

/* Send everything and `count` further pieces, at most 2, from where they lie; with `more`, more
 * will follow at once. */
int vof_outbox_send(struct vof_outbox *outbox, const struct iovec *pieces, int count, int more);

/* Send everything, then `size` bytes out of a pipe. */
int vof_outbox_splice(struct vof_outbox *outbox, int pipe, size_t size);

#endif
