// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/request.h"

static void refuse(struct voft_request *request, uint8_t status)
{
    request->action = VOF_REFUSE;
    request->status = status;
}

/* Whether bytes from `sector` on are whole sectors of the disk. */
static bool in_range(uint64_t capacity, uint64_t sector, uint64_t length)
{
    uint64_t sectors = capacity >> VOF_SECTOR_SHIFT;
    return length % VOF_SECTOR_SIZE == 0 && sector <= sectors &&
           length >> VOF_SECTOR_SHIFT <= sectors - sector;
}

static void check_transfer(uint64_t capacity, struct voft_request *request, enum vof_action action,
                           uint32_t length)
{
    if (!in_range(capacity, request->sector, length)) {
        refuse(request, VOF_BLK_S_IOERR);
        return;
    }
    request->action = action;
    request->offset = request->sector << VOF_SECTOR_SHIFT;
    request->length = length;
}

/* No range is touched unless all of them are good. */
static void check_ranges(const struct vof_block_limits *limits, uint64_t capacity,
                         struct voft_request *request, enum vof_action action, uint32_t max_sectors,
                         uint32_t known_flags)
{
    uint32_t count = request->data_size / VOF_BLK_SEGMENT_SIZE;

    if (request->data_size % VOF_BLK_SEGMENT_SIZE || !count || count > limits->max_segments) {
        refuse(request, VOF_BLK_S_IOERR);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = request->data + (size_t)i * VOF_BLK_SEGMENT_SIZE;
        if (vof_get32(p + 12) & ~known_flags) {
            refuse(request, VOF_BLK_S_UNSUPP);
            return;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = request->data + (size_t)i * VOF_BLK_SEGMENT_SIZE;
        uint32_t sectors = vof_get32(p + 8);
        if (sectors > max_sectors ||
            !in_range(capacity, vof_get64(p), (uint64_t)sectors << VOF_SECTOR_SHIFT)) {
            refuse(request, VOF_BLK_S_IOERR);
            return;
        }
    }
    request->action = action;
}

bool voft_check_request(const struct vof_block_limits *limits, uint64_t capacity, uint32_t rules,
                        const uint8_t *payload, uint32_t readable, uint32_t writable,
                        struct voft_request *request, struct vof_fault *fault)
{
    if (readable < VOF_BLK_HEADER_SIZE) {
        fault->violation = VOF_BLOCK_HEADER_SHORT;
        fault->found = readable;
        return false;
    }
    if (!writable) {
        fault->violation = VOF_BLOCK_STATUS_MISSING;
        return false;
    }
    request->type = vof_get32(payload);
    request->sector = vof_get64(payload + 8);
    request->data = payload + VOF_BLK_HEADER_SIZE;
    request->data_size = readable - VOF_BLK_HEADER_SIZE;
    request->persist = rules & VOF_RULE_PERSIST;
    request->status = VOF_BLK_S_OK;
    request->offset = 0;
    request->length = 0;
    switch (request->type) {
    case VOF_BLK_IN:
        /* The status byte is the last one of the area; a read brings no data. */
        if (request->data_size)
            refuse(request, VOF_BLK_S_IOERR);
        else
            check_transfer(capacity, request, VOF_READ, writable - 1);
        break;
    case VOF_BLK_OUT:
        if (limits->readonly)
            refuse(request, VOF_BLK_S_IOERR);
        else
            check_transfer(capacity, request, VOF_WRITE, request->data_size);
        break;
    case VOF_BLK_FLUSH:
        if (rules & VOF_RULE_FLUSH)
            request->action = VOF_FLUSH;
        else
            refuse(request, VOF_BLK_S_UNSUPP);
        break;
    case VOF_BLK_DISCARD:
        /* Section 5.2.6.2: for a discard the unmap flag is reserved. */
        if (rules & VOF_RULE_DISCARD)
            check_ranges(limits, capacity, request, VOF_DISCARD, limits->max_discard_sectors, 0);
        else
            refuse(request, VOF_BLK_S_UNSUPP);
        break;
    case VOF_BLK_WRITE_ZEROES:
        if (rules & VOF_RULE_WRITE_ZEROES)
            check_ranges(limits, capacity, request, VOF_WRITE_ZEROES,
                         limits->max_write_zeroes_sectors, VOF_BLK_SEGMENT_UNMAP);
        else
            refuse(request, VOF_BLK_S_UNSUPP);
        break;
    default:
        request->action = VOF_ELSEWHERE;
        break;
    }
    return true;
}

struct vof_range voft_request_range(const struct voft_request *request, uint32_t index)
{
    const uint8_t *p = request->data + (size_t)index * VOF_BLK_SEGMENT_SIZE;
    struct vof_range range = {
        vof_get64(p) << VOF_SECTOR_SHIFT,
        (uint64_t)vof_get32(p + 8) << VOF_SECTOR_SHIFT,
        vof_get32(p + 12) & VOF_BLK_SEGMENT_UNMAP,
    };
    return range;
}
