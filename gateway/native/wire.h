/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Records and numbers of the stream transport, for both native ends.
 *
 * Owns the layouts of what travels per request: command heads, completions, segment descriptors,
 * the virtio-blk request header. Everything is little-endian; a record is read from and written
 * to bytes by the functions here, never by casting. No I/O, no state. Control commands are not
 * here: they stay in Python. tests/unit/engine compares every number with vof.wire.
 *
 * Sources: v2 command set ("Vring Command", "Completion") with the 24-byte segment descriptor of the
 * known programs; v5 ("VQ Command", "Stream Transmission"); virtio 1.2 section 5.2.6.
 */
#ifndef VOF_WIRE_H
#define VOF_WIRE_H

#include <stdint.h>
#include <string.h>

enum {
    VOF_COMMAND_SIZE = 16,
    VOF_COMPLETION_SIZE = 16,
    VOF_DESCRIPTOR_SIZE = 24,
    VOF_CONNECT_BODY_SIZE = 1024,
    VOF_BLK_HEADER_SIZE = 16,
    VOF_BLK_SEGMENT_SIZE = 16, /* of a discard or write zeroes request */
    VOF_SECTOR_SHIFT = 9,
    VOF_SECTOR_SIZE = 1 << VOF_SECTOR_SHIFT,
};

enum {
    VOF_OP_CONNECT = 0x0000,
    VOF_OP_VQ = 0x0fff,       /* v5 */
    VOF_OP_VRING_V2 = 0x0fff, /* v2: the command below under another number */
    VOF_OP_VRING = 0x2000,    /* proposal */
};

/* Completion status of v5: more commands are in flight than the virtqueue holds. */
#define VOF_STATUS_TOO_MANY 0x0002

/* Command ids from here on belong to asynchronous events. */
#define VOF_FIRST_RESERVED_COMMAND_ID 0xff00
#define VOF_EVENT_CONFIG_CHANGE 0xfffe
#define VOF_EVENT_KEEPALIVE 0xffff

/* The first bit is NEXT in the proposal, and KEYED in v2. */
enum { VOF_DESC_NEXT = 1, VOF_DESC_KEYED = 1, VOF_DESC_WRITE = 2 };

/* How a virtqueue's buffers travel: the one thing in which the dialects' streams differ. */
enum vof_framing {
    VOF_FRAMING_CHAINS,   /* proposal: vring command with segment descriptors, chained by NEXT */
    VOF_FRAMING_SEGMENTS, /* v2: the same, not chained, and under another opcode */
    VOF_FRAMING_LENGTHS,  /* v5: vq command with two lengths */
};

static inline uint16_t vof_request_opcode(enum vof_framing framing)
{
    switch (framing) {
    case VOF_FRAMING_CHAINS:
        return VOF_OP_VRING;
    case VOF_FRAMING_SEGMENTS:
        return VOF_OP_VRING_V2;
    default:
        return VOF_OP_VQ;
    }
}

enum vof_blk_type {
    VOF_BLK_IN = 0,
    VOF_BLK_OUT = 1,
    VOF_BLK_FLUSH = 4,
    VOF_BLK_GET_ID = 8,
    VOF_BLK_GET_LIFETIME = 10,
    VOF_BLK_DISCARD = 11,
    VOF_BLK_WRITE_ZEROES = 13,
    VOF_BLK_SECURE_ERASE = 14,
};

enum { VOF_BLK_S_OK = 0, VOF_BLK_S_IOERR = 1, VOF_BLK_S_UNSUPP = 2 };

enum { VOF_BLK_SEGMENT_UNMAP = 1, VOF_BLK_ID_SIZE = 20 };

/* Bits of the block device's feature word. */
#define VOF_BLK_F_FLUSH (UINT64_C(1) << 9)
#define VOF_BLK_F_DISCARD (UINT64_C(1) << 13)
#define VOF_BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

static inline uint16_t vof_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t vof_get32(const uint8_t *p)
{
    return (uint32_t)vof_get16(p) | (uint32_t)vof_get16(p + 2) << 16;
}

static inline uint64_t vof_get64(const uint8_t *p)
{
    return (uint64_t)vof_get32(p) | (uint64_t)vof_get32(p + 4) << 32;
}

static inline void vof_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void vof_put32(uint8_t *p, uint32_t value)
{
    vof_put16(p, (uint16_t)value);
    vof_put16(p + 2, (uint16_t)(value >> 16));
}

static inline void vof_put64(uint8_t *p, uint64_t value)
{
    vof_put32(p, (uint32_t)value);
    vof_put32(p + 4, (uint32_t)(value >> 32));
}

/* A segment descriptor: its place in the running offsets, its length in bytes, id and flags. Key
 * and padding mean nothing on a stream and are sent as zeros. */
struct vof_descriptor {
    uint64_t addr;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};

static inline struct vof_descriptor vof_get_descriptor(const uint8_t *p)
{
    struct vof_descriptor d = {vof_get64(p), vof_get32(p + 8), vof_get16(p + 12), vof_get16(p + 14)};
    return d;
}

static inline void vof_put_descriptor(uint8_t *p, struct vof_descriptor d)
{
    vof_put64(p, d.addr);
    vof_put32(p + 8, d.length);
    vof_put16(p + 12, d.id);
    vof_put16(p + 14, d.flags);
    memset(p + 16, 0, 8);
}

/* A completion, all of its bytes: v5 has other fields in the places of ndesc and what follows. */
struct vof_completion {
    uint16_t status;
    uint16_t command_id;
    uint16_t ndesc;
    uint16_t rsvd;
    uint64_t value;
};

static inline struct vof_completion vof_get_completion(const uint8_t *p)
{
    struct vof_completion c = {vof_get16(p), vof_get16(p + 2), vof_get16(p + 4), vof_get16(p + 6),
                               vof_get64(p + 8)};
    return c;
}

static inline void vof_put_completion(uint8_t *p, struct vof_completion c)
{
    vof_put16(p, c.status);
    vof_put16(p + 2, c.command_id);
    vof_put16(p + 4, c.ndesc);
    vof_put16(p + 6, c.rsvd);
    vof_put64(p + 8, c.value);
}

/* The bytes that follow a vq completion: those the device wrote, from the start of the area. */
static inline uint32_t vof_get_vq_length(const uint8_t *p)
{
    return vof_get32(p + 8);
}

/* The command's in_length, less the gap before a status (ours). */
static inline uint32_t vof_get_vq_in_length(const uint8_t *p)
{
    return vof_get32(p + 12);
}

static inline void vof_put_vq_completion(uint8_t *p, uint16_t status, uint16_t command_id,
                                         uint32_t length, uint32_t in_length)
{
    vof_put16(p, status);
    vof_put16(p + 2, command_id);
    vof_put32(p + 4, 0);
    vof_put32(p + 8, length);
    vof_put32(p + 12, in_length);
}

/* What every command begins with, and the number of descriptors of a vring command or a Connect. */
static inline uint16_t vof_get_opcode(const uint8_t *p)
{
    return vof_get16(p);
}

static inline uint16_t vof_get_command_id(const uint8_t *p)
{
    return vof_get16(p + 2);
}

static inline uint16_t vof_get_ndesc(const uint8_t *p)
{
    return vof_get16(p + 8);
}

/* vring: opcode, command_id, length (ignored by every peer), ndesc. */
static inline void vof_put_vring(uint8_t *p, enum vof_framing framing, uint16_t command_id,
                                 uint32_t length, uint16_t ndesc)
{
    vof_put16(p, vof_request_opcode(framing));
    vof_put16(p + 2, command_id);
    vof_put32(p + 4, length);
    vof_put16(p + 8, ndesc);
    memset(p + 10, 0, 6);
}

/* vq: opcode, command_id, out_length, in_length. */
static inline void vof_put_vq(uint8_t *p, uint16_t command_id, uint32_t out_length,
                              uint32_t in_length)
{
    vof_put16(p, VOF_OP_VQ);
    vof_put16(p + 2, command_id);
    vof_put32(p + 4, 0);
    vof_put32(p + 8, out_length);
    vof_put32(p + 12, in_length);
}

struct vof_vq_lengths {
    uint32_t out;
    uint32_t in;
};

static inline struct vof_vq_lengths vof_get_vq_lengths(const uint8_t *p)
{
    struct vof_vq_lengths l = {vof_get32(p + 8), vof_get32(p + 12)};
    return l;
}

static inline void vof_put_blk_header(uint8_t *p, uint32_t type, uint64_t sector)
{
    vof_put32(p, type);
    vof_put32(p + 4, 0);
    vof_put64(p + 8, sector);
}

#endif
