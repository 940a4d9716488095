/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The initiator's end of the framing: completions, in any fragmentation.
 *
 * The native twin of vof.wire.stream.CompletionParser; every refusal has the same words. Pure: no
 * I/O, no locks, no allocation. Bytes come in two ways: `feed` takes what was received anywhere;
 * where the parser knows where the next bytes belong, `wanted` lends those buffers so that a
 * receive can write straight into them, and `advance` tells how much it wrote.
 *
 * Implements the proposal's examples 1.1 and 1.2 (segment descriptors), and v5's "Stream
 * Transmission". Must not know sockets, waiters or device types.
 */
#ifndef VOF_COMPLETION_PARSER_H
#define VOF_COMPLETION_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire.h"

/* The device-writable buffers of one command, lent until it has ended. */
struct vof_landing {
    uint16_t command_id;
    uint16_t first_id; /* descriptor id of the first device-writable buffer */
    uint16_t count;    /* of `writable`, and room in the two arrays below */
    uint32_t tail;     /* bytes at their end that every answer has: a status */
    const struct iovec *writable;
    uint32_t *lengths;  /* out: bytes written into each buffer */
    struct iovec *fill; /* scratch: where the data lands, in the order in which it comes */
    uint16_t returned;  /* out: descriptors that came back; 0 where a refused command has none */
    struct vof_completion completion; /* out */
};

/* What happens outside: `expect` returns the landing of the command with this id, which is taken
 * out of flight by that, or NULL where none is; `arrived` gets each landing that is complete. */
struct vof_completion_events {
    struct vof_landing *(*expect)(void *context, uint16_t command_id);
    void (*arrived)(void *context, struct vof_landing *landing);
    void *context;
};

struct vof_completion_parser {
    enum vof_framing framing;
    bool refusal_carries_buffers; /* as the reference target refuses: ndesc 0, yet all follow */
    struct vof_completion_events events;

    struct vof_landing *landing; /* of the completion that has begun, NULL between two */
    uint16_t left;               /* descriptors of it still to come */
    uint16_t fills, filled;      /* buffers to fill, and those that are full */
    uint8_t stash[VOF_DESCRIPTOR_SIZE];
    uint8_t stashed; /* bytes of a head or descriptor that did not arrive whole */
    char error[160]; /* what the peer did wrong; a parser that has one is not to be used again */
};

void vof_parser_init(struct vof_completion_parser *parser, enum vof_framing framing,
                     struct vof_completion_events events);

/* Forget what was begun: the next byte is the first of another stream. */
void vof_parser_restart(struct vof_completion_parser *parser);

/* Take the next bytes of the stream. Returns false where they break the protocol: see `error`. */
bool vof_parser_feed(struct vof_completion_parser *parser, const uint8_t *data, size_t length);

/* The buffers the next bytes belong into, and their bytes in all; 0 buffers if not known yet. */
unsigned vof_parser_wanted(const struct vof_completion_parser *parser, const struct iovec **buffers,
                           size_t *bytes);

/* Note that `length` bytes, at most those wanted, were received straight into those buffers. */
void vof_parser_advance(struct vof_completion_parser *parser, size_t length);

#endif
