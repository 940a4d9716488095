/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One virtio-blk request, checked: the twin of the checks in vof.target.devices.block_request.
 *
 * Owns which requests are executed here and what of them is refused with a status byte. Pure: it
 * must not know where data is kept, and every limit is the caller's. virtio 1.2 section 5.2.6.
 */
#ifndef VOF_TARGET_BLOCK_REQUEST_H
#define VOF_TARGET_BLOCK_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target/fault.h"
#include "wire.h"

/* What the device is, from the day it was opened. */
struct vof_block_limits {
    uint32_t max_discard_sectors;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_segments;
    bool readonly;
};

/* What one driver negotiated, as bits: it can change between any two requests. */
enum vof_rule {
    VOF_RULE_FLUSH = 1,
    VOF_RULE_DISCARD = 2,
    VOF_RULE_WRITE_ZEROES = 4,
    VOF_RULE_PERSIST = 8, /* a write is on the medium before it completes */
};

enum vof_action {
    VOF_REFUSE, /* answer with `status`, nothing else */
    VOF_READ,
    VOF_WRITE,
    VOF_FLUSH,
    VOF_DISCARD,
    VOF_WRITE_ZEROES,
    VOF_ELSEWHERE, /* a type that Python knows more about */
};

struct voft_request {
    enum vof_action action;
    uint8_t status;
    bool persist;
    uint32_t type;
    uint64_t sector;
    uint64_t offset;     /* bytes; of a read or a write */
    uint32_t length;     /* bytes; of a read or a write */
    const uint8_t *data; /* what follows the header: bytes to write, or segments */
    uint32_t data_size;
};

/* A range of a discard or write zeroes request, in bytes. */
struct vof_range {
    uint64_t offset;
    uint64_t length;
    bool unmap;
};

/* Check a request of `readable` bytes at `payload`, with room for `writable`, against a disk of
 * `capacity` bytes. False where no device could complete it (section 5.2.6.1); `fault` says why.
 * `rules` are bits of enum vof_rule. */
bool voft_check_request(const struct vof_block_limits *limits, uint64_t capacity, uint32_t rules,
                        const uint8_t *payload, uint32_t readable, uint32_t writable,
                        struct voft_request *request, struct vof_fault *fault);

/* Return range number `index` of a request whose action is VOF_DISCARD or VOF_WRITE_ZEROES. */
struct vof_range voft_request_range(const struct voft_request *request, uint32_t index);

static inline uint32_t voft_request_ranges(const struct voft_request *request)
{
    return request->data_size / VOF_BLK_SEGMENT_SIZE;
}

#endif
