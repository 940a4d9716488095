/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a connection has received and not yet executed: bytes in, in any pieces, commands out.
 *
 * Owns the place of every byte: small commands lie in the receive buffer, one behind the other; a
 * payload that is too large for that has a buffer of its own, into which it is received straight.
 * At most one of those, so a peer cannot make it hold more than one command and the buffer. No
 * sockets, so that it can be fed by anything; must not know what a command does.
 */
#ifndef VOF_TARGET_STREAM_INTAKE_H
#define VOF_TARGET_STREAM_INTAKE_H

#include <sys/uio.h>

#include "target/buffers.h"
#include "target/stream/command_parser.h"

enum { VOF_RECEIVE_SIZE = 1 << 16 };

struct vof_intake {
    const struct vof_stream_rules *rules;
    struct vof_stash *stash;
    uint8_t *bytes; /* VOF_RECEIVE_SIZE of them, the caller's */
    size_t start;   /* what was received and not taken is from here to `end` */
    size_t end;
    bool begun; /* `command` was read, and its payload is not all there */
    struct vof_buffer own;
    size_t filled; /* bytes of `own` */
    struct vof_command command;
    const uint8_t *payload; /* of `command`, once it is complete */
    struct vof_segment segments[VOF_MAX_NDESC];
};

/* `rules`, `stash` and `bytes` stay the caller's, and have to outlive the intake. */
void vof_intake_begin(struct vof_intake *intake, const struct vof_stream_rules *rules,
                      struct vof_stash *stash, uint8_t *bytes);

enum vof_intake_result {
    VOF_INTAKE_MORE,      /* receive into vof_intake_space */
    VOF_INTAKE_COMMAND,   /* `command`, `segments` and `payload` are it, until the next call */
    VOF_INTAKE_VIOLATION, /* the stream cannot be followed any further */
    VOF_INTAKE_NO_MEMORY,
};

enum vof_intake_result vof_intake_next(struct vof_intake *intake, struct vof_fault *fault);

/* Where the next bytes belong; returns the number of pieces, 1 or 2, none of them empty. To be
 * called after VOF_INTAKE_MORE only. */
int vof_intake_space(struct vof_intake *intake, struct iovec pieces[2]);

/* `count` bytes were received there. */
void vof_intake_advance(struct vof_intake *intake, size_t count);

/* Take the complete command's payload buffer, if it has one of its own, for longer. */
struct vof_buffer vof_intake_keep_payload(struct vof_intake *intake);

/* Whether nothing is held: the receive buffer may be forgotten. */
bool vof_intake_idle(const struct vof_intake *intake);

void vof_intake_end(struct vof_intake *intake);

#endif
