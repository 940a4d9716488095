/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/framing.h"

/* Where the next descriptor goes: its id, and its place in the bytes of its direction. */
struct descriptors {
    uint8_t *at;
    uint16_t id;
    uint16_t chained; /* the flag of each but the last */
    uint64_t addr;
};

static void add(struct descriptors *to, uint32_t length, uint16_t flags)
{
    struct vof_descriptor desc = {to->addr, length, to->id++, flags | to->chained};
    vof_put_descriptor(to->at, desc);
    to->at += VOF_DESCRIPTOR_SIZE;
    to->addr += length;
}

static uint32_t next_part(uint32_t length, uint32_t size_max)
{
    return length < size_max ? length : size_max;
}

static void add_segments(struct descriptors *to, const struct vof_shape *shape, uint16_t flags)
{
    for (uint32_t part, left = shape->length; left; left -= part) {
        part = next_part(left, shape->size_max);
        add(to, part, flags);
    }
}

/* A vring command and its segment descriptors. */
static size_t write_vring(uint8_t *command, enum vof_framing framing,
                          const struct vof_shape *shape, struct vof_landing *landing,
                          uint16_t *room)
{
    struct descriptors to = {
        .at = command + VOF_COMMAND_SIZE,
        .chained = framing == VOF_FRAMING_CHAINS ? VOF_DESC_NEXT : 0,
    };
    add(&to, shape->header, 0);
    if (shape->data_out)
        add_segments(&to, shape, 0);
    uint32_t readable = (uint32_t)to.addr;
    landing->first_id = to.id;
    to.addr = 0;
    if (!shape->data_out)
        add_segments(&to, shape, VOF_DESC_WRITE);
    add(&to, shape->tail, VOF_DESC_WRITE);
    /* The last one has no next. */
    vof_put16(to.at - VOF_DESCRIPTOR_SIZE + 14, VOF_DESC_WRITE);
    vof_put_vring(command, framing, 0, readable, to.id);
    *room = to.id;
    return (size_t)(to.at - command);
}

size_t vof_frame_command(uint8_t *command, enum vof_framing framing, const struct vof_shape *shape,
                         struct vof_landing *landing, uint16_t *room)
{
    if (framing != VOF_FRAMING_LENGTHS)
        return write_vring(command, framing, shape, landing, room);
    vof_put_vq(command, 0, shape->header + (shape->data_out ? shape->length : 0),
               shape->tail + (shape->data_out ? 0 : shape->length));
    landing->first_id = 0;
    *room = 1; /* what a virtqueue holds is counted in commands */
    return VOF_COMMAND_SIZE;
}

void vof_frame_id(uint8_t *command, struct vof_landing *landing, uint16_t id)
{
    vof_put16(command + 2, id);
    landing->command_id = id;
}

void vof_frame_landing(struct vof_landing *landing, const struct vof_shape *shape,
                       struct iovec *writable, void *data, void *tail)
{
    uint16_t count = 0;
    uint8_t *at = data;
    for (uint32_t part, left = shape->data_out ? 0 : shape->length; left; left -= part) {
        part = next_part(left, shape->size_max);
        writable[count++] = (struct iovec){at, part};
        at += part;
    }
    writable[count++] = (struct iovec){tail, shape->tail};
    landing->count = count;
    landing->tail = shape->tail;
    landing->writable = writable;
}
