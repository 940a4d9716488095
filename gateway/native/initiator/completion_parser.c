/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/completion_parser.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define UNRETURNED UINT32_MAX /* a length no buffer has: its descriptor has not come back yet */

__attribute__((format(printf, 2, 3))) static bool refuse(struct vof_completion_parser *parser,
                                                         const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parser->error, sizeof parser->error, format, arguments);
    va_end(arguments);
    return false;
}

void vof_parser_init(struct vof_completion_parser *parser, enum vof_framing framing,
                     struct vof_completion_events events)
{
    memset(parser, 0, sizeof *parser);
    parser->framing = framing;
    parser->events = events;
}

void vof_parser_restart(struct vof_completion_parser *parser)
{
    parser->landing = NULL;
    parser->left = parser->fills = parser->filled = 0;
    parser->stashed = 0;
    parser->error[0] = '\0';
}

/* Everything of the completion that has begun is there. */
static void finish(struct vof_completion_parser *parser)
{
    struct vof_landing *landing = parser->landing;
    parser->landing = NULL;
    parser->fills = parser->filled = 0;
    parser->events.arrived(parser->events.context, landing);
}

static void add_fill(struct vof_completion_parser *parser, void *base, size_t length)
{
    if (length) {
        struct iovec part = {base, length};
        parser->landing->fill[parser->fills++] = part;
    }
}

/* Say how much of each buffer was written where `used` bytes were: from the start, but for the last
 * `tail` of all `room` bytes. */
static void spread(struct vof_landing *landing, uint64_t used, uint64_t room, uint64_t tail)
{
    uint64_t left = used - tail, body = room - tail;
    for (unsigned i = 0; i < landing->count; i++) {
        uint64_t size = landing->writable[i].iov_len;
        uint64_t before = size < body ? size : body; /* of this buffer, before the tail */
        uint64_t part = left < before ? left : before;
        left -= part;
        body -= before;
        /* A buffer that has a part of the tail has come whole. */
        landing->lengths[i] = (uint32_t)(before == size ? part : size);
    }
}

/* A vq completion's data fill the buffers from the start. Where all of them came there may be a gap
 * before the tail: `in_length` is what was written, then. */
static bool begin_lengths(struct vof_completion_parser *parser, uint32_t length,
                          uint32_t in_length)
{
    struct vof_landing *landing = parser->landing;
    uint64_t room = 0;
    uint32_t left = length;
    for (unsigned i = 0; i < landing->count; i++) {
        const struct iovec *buffer = &landing->writable[i];
        uint32_t part = left < buffer->iov_len ? left : (uint32_t)buffer->iov_len;
        add_fill(parser, buffer->iov_base, part);
        landing->lengths[i] = part;
        left -= part;
        room += buffer->iov_len;
    }
    if (left)
        return refuse(parser, "completion of command id %u returns %u bytes where the command has "
                              "room for %" PRIu64,
                      landing->command_id, length, room);
    uint32_t used = length;
    if (length == room && landing->tail && in_length >= landing->tail && in_length < room) {
        used = in_length;
        spread(landing, used, room, landing->tail);
    }
    if (length || !landing->completion.status)
        landing->returned = landing->count;
    landing->completion.ndesc = landing->returned;
    landing->completion.rsvd = 0;
    landing->completion.value = used;
    return true;
}

static bool begin_segments(struct vof_completion_parser *parser)
{
    struct vof_landing *landing = parser->landing;
    uint16_t count = landing->completion.ndesc;
    if (landing->completion.status && !count) {
        if (!parser->refusal_carries_buffers)
            return true;
        count = landing->count;
    } else if (count != landing->count) {
        return refuse(parser, "completion of command id %u has %u descriptors where the command "
                              "has %u device-writable ones",
                      landing->command_id, count, landing->count);
    }
    parser->left = landing->returned = count;
    for (unsigned i = 0; i < count; i++)
        landing->lengths[i] = UNRETURNED;
    return true;
}

static bool take_head(struct vof_completion_parser *parser, const uint8_t *data)
{
    struct vof_completion completion = vof_get_completion(data);
    struct vof_landing *landing =
        parser->events.expect(parser->events.context, completion.command_id);
    if (!landing)
        return refuse(parser, "completion for command id %u, which is not in flight",
                      completion.command_id);
    parser->landing = landing;
    landing->completion = completion;
    landing->returned = 0;
    bool good = parser->framing != VOF_FRAMING_LENGTHS ? begin_segments(parser)
                : landing->count ? begin_lengths(parser, vof_get_vq_length(data),
                                                  vof_get_vq_in_length(data))
                                 : true; /* a control command: nothing follows */
    if (good && !parser->left && !parser->fills)
        finish(parser);
    return good;
}

static bool take_descriptor(struct vof_completion_parser *parser, const uint8_t *data)
{
    struct vof_landing *landing = parser->landing;
    struct vof_descriptor desc = vof_get_descriptor(data);
    unsigned index = (unsigned)desc.id - landing->first_id;
    if (desc.id < landing->first_id || index >= landing->count ||
        landing->lengths[index] != UNRETURNED)
        return refuse(parser, "completion returns descriptor id %u, which is not an open "
                              "device-writable descriptor of its command",
                      desc.id);
    const struct iovec *buffer = &landing->writable[index];
    if (desc.length > buffer->iov_len)
        return refuse(parser, "completion returns %u bytes for descriptor id %u, which has room "
                              "for %zu",
                      desc.length, desc.id, buffer->iov_len);
    landing->lengths[index] = desc.length;
    add_fill(parser, buffer->iov_base, desc.length);
    if (!--parser->left && !parser->fills)
        finish(parser);
    return true;
}

/* The next head or descriptor, out of the stash if it did not arrive whole; NULL if it has not. */
static const uint8_t *take_fixed(struct vof_completion_parser *parser, const uint8_t **data,
                                 const uint8_t *end)
{
    size_t size = parser->landing ? VOF_DESCRIPTOR_SIZE : VOF_COMPLETION_SIZE;
    size_t have = (size_t)(end - *data);
    const uint8_t *whole = *data;
    if (!parser->stashed && have >= size) {
        *data += size;
        return whole;
    }
    size_t part = size - parser->stashed < have ? size - parser->stashed : have;
    memcpy(parser->stash + parser->stashed, *data, part);
    *data += part;
    parser->stashed = (uint8_t)(parser->stashed + part);
    if (parser->stashed < size)
        return NULL;
    parser->stashed = 0;
    return parser->stash;
}

bool vof_parser_feed(struct vof_completion_parser *parser, const uint8_t *data, size_t length)
{
    const uint8_t *end = data + length;
    while (data < end) {
        if (parser->landing && !parser->left) {
            const struct iovec *next = &parser->landing->fill[parser->filled];
            size_t part = (size_t)(end - data);
            if (part > next->iov_len)
                part = next->iov_len;
            memcpy(next->iov_base, data, part);
            data += part;
            vof_parser_advance(parser, part);
            continue;
        }
        bool begun = parser->landing;
        const uint8_t *fixed = take_fixed(parser, &data, end);
        if (!fixed)
            break;
        if (!(begun ? take_descriptor(parser, fixed) : take_head(parser, fixed)))
            return false;
    }
    return true;
}

unsigned vof_parser_wanted(const struct vof_completion_parser *parser, const struct iovec **buffers,
                           size_t *bytes)
{
    *bytes = 0;
    if (!parser->landing || parser->left)
        return 0;
    const struct iovec *fill = parser->landing->fill;
    for (unsigned i = parser->filled; i < parser->fills; i++)
        *bytes += fill[i].iov_len;
    *buffers = fill + parser->filled;
    return (unsigned)(parser->fills - parser->filled);
}

void vof_parser_advance(struct vof_completion_parser *parser, size_t length)
{
    if (!length)
        return;
    while (length) {
        struct iovec *next = &parser->landing->fill[parser->filled];
        if (length < next->iov_len) {
            next->iov_base = (char *)next->iov_base + length;
            next->iov_len -= length;
            return;
        }
        length -= next->iov_len;
        parser->filled++;
    }
    if (parser->landing && !parser->left && parser->filled == parser->fills)
        finish(parser);
}
