/* SPDX-License-Identifier: BSD-3-Clause
 *
 * virtio-blk requests over the queues of one device (virtio 1.2 section 5.2.6): what
 * vof.drivers.block and vof.initiator.virtqueue do for one request, in one call that needs neither
 * Python nor an allocation.
 *
 * It carries what is plain: whole blocks within the device and within one request's limits. All
 * else it declines, having done nothing, and Python decides. Must not know NBD or who asks.
 */
#ifndef VOF_BLOCK_H
#define VOF_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "initiator/framing.h"
#include "initiator/gate.h"
#include "initiator/request.h"

enum { VOF_BLOCK_MAX_QUEUES = 128, VOF_BLOCK_MAX_SEGMENTS = 126 };

/* The first kinds that requests are counted as (see statistics.h), and their names. */
enum { VOF_BLOCK_KINDS = 5 };
const char *vof_block_kind_name(unsigned kind);

/* What the device is, in bytes where it has a unit. Fixed, but for the size. */
struct vof_geometry {
    uint64_t size;            /* a multiple of the block; see vof_block_resize */
    uint32_t block_size;      /* a power of two */
    uint32_t size_max;        /* of one data segment */
    uint64_t max_transfer;    /* data of one request, at most VOF_BLOCK_MAX_SEGMENTS segments */
    uint64_t max_discard;     /* 0 where it is not offered; so too the next */
    uint64_t max_write_zeroes;
    bool may_unmap, can_flush, read_only;
};

struct vof_block {
    struct vof_geometry geometry;
    struct vof_queue *queues[VOF_BLOCK_MAX_QUEUES];
    unsigned count;
    enum vof_framing framing;
    int64_t timeout; /* nanoseconds a request may take; 0: for ever */
    struct vof_gate gate;
};

enum vof_result {
    VOF_CARRIED,
    VOF_DECLINED, /* not plain, or the session is gone: Python knows what to say */
    VOF_REFUSED,  /* by the target: `status` is the completion's */
    VOF_FAILED,   /* by the device: `status` is the status byte */
    VOF_BROKEN,   /* the device broke the protocol: `arrived` of `wanted` bytes, or no status */
};

/* How a request that was not carried ended. */
struct vof_failed {
    const char *what; /* the request's name */
    unsigned status;
    uint64_t arrived, wanted;
};

/* Say that the device has `size` bytes now; from any thread. */
void vof_block_resize(struct vof_block *block, uint64_t size);

enum vof_result vof_block_read(struct vof_block *block, void *data, uint32_t length,
                               uint64_t offset, struct vof_failed *failed);
enum vof_result vof_block_write(struct vof_block *block, const void *data, uint32_t length,
                                uint64_t offset, struct vof_failed *failed);
/* Carried also where there is nothing to do, the device having no write cache. */
enum vof_result vof_block_flush(struct vof_block *block, struct vof_failed *failed);
enum vof_result vof_block_discard(struct vof_block *block, uint32_t length, uint64_t offset,
                                  struct vof_failed *failed);
enum vof_result vof_block_write_zeroes(struct vof_block *block, uint32_t length, uint64_t offset,
                                       bool unmap, struct vof_failed *failed);

/* The bytes of one request, and where its answer goes; for who has several in flight. */
struct vof_block_request {
    struct vofi_request request;
    uint8_t status; /* of the device */
    struct iovec out[2], writable[VOF_BLOCK_MAX_SEGMENTS + 1];
    uint32_t lengths[VOF_BLOCK_MAX_SEGMENTS + 1];
    struct iovec fill[VOF_BLOCK_MAX_SEGMENTS + 1];
    uint16_t room; /* it takes in its queue */
    uint8_t command[VOF_FRAMED_SIZE(VOF_BLOCK_MAX_SEGMENTS) + VOF_BLK_HEADER_SIZE];
};

/* Write a request: `type` with `sector`, `length` bytes at `data` that the device reads
 * (`data_out`) or fills. It has no command id yet. */
void vof_block_prepare(const struct vof_block *block, struct vof_block_request *item,
                       enum vof_blk_type type, uint64_t sector, void *data, uint32_t length,
                       bool data_out);
void vof_block_set_id(struct vof_block_request *item, uint16_t id);
/* How a request that is done has ended. */
enum vof_result vof_block_judge(const struct vof_block_request *item, struct vof_failed *failed);

#endif
