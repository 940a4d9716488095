/* SPDX-License-Identifier: BSD-3-Clause
 *
 * virtio-blk requests over the queues of one device (virtio 1.2 section 5.2.6): what
 * vof.drivers.block and vof.initiator.virtqueue do for one request, in one call that needs neither
 * Python nor an allocation. Either the caller waits for it, or it is called back.
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
    VOF_STARTED,  /* yet to come; only of vof_block_start, and so is the next */
    VOF_BUSY,     /* no room in the queue, or somebody is alone in the gate: nothing was done */
};

/* How a request that was not carried ended. */
struct vof_failed {
    const char *what; /* the request's name */
    unsigned status;
    uint64_t arrived, wanted;
};

/* Say that the device has `size` bytes now; from any thread. */
void vof_block_resize(struct vof_block *block, uint64_t size);

/* What is asked of the device. */
struct vof_block_operation {
    enum vof_blk_type type; /* IN, OUT, FLUSH, DISCARD or WRITE_ZEROES */
    uint32_t length;        /* bytes; 0 for a flush */
    uint64_t offset;
    void *data;             /* of IN, which is filled, and of OUT, which is only read */
    bool unmap;             /* the blocks of WRITE_ZEROES may be discarded */
};

/* Do it: sent over a queue that is the thread's own, waited for. A flush is carried also where
 * there is nothing to do, the device having no write cache. */
enum vof_result vof_block_run(struct vof_block *block, const struct vof_block_operation *operation,
                              struct vof_failed *failed);

/* The same, by its name. */
enum vof_result vof_block_read(struct vof_block *block, void *data, uint32_t length,
                               uint64_t offset, struct vof_failed *failed);
enum vof_result vof_block_write(struct vof_block *block, const void *data, uint32_t length,
                                uint64_t offset, struct vof_failed *failed);
enum vof_result vof_block_flush(struct vof_block *block, struct vof_failed *failed);
enum vof_result vof_block_discard(struct vof_block *block, uint32_t length, uint64_t offset,
                                  struct vof_failed *failed);
enum vof_result vof_block_write_zeroes(struct vof_block *block, uint32_t length, uint64_t offset,
                                       bool unmap, struct vof_failed *failed);

/* Called when what was started has ended: `result` is as vof_block_run returns it. */
typedef void vof_block_on_done(void *owner, enum vof_result result,
                               const struct vof_failed *failed);

/* One request: its bytes, and where its answer goes. */
struct vof_block_request {
    struct vofi_request request;
    struct vof_block *block;
    struct vof_queue *queue;
    vof_block_on_done *on_done; /* of one that was started */
    void *owner;
    bool passes; /* the gate */
    uint16_t room; /* it takes in its queue */
    uint8_t status; /* of the device */
    uint8_t segment[VOF_BLK_SEGMENT_SIZE];
    struct iovec out[2], writable[VOF_BLOCK_MAX_SEGMENTS + 1];
    uint32_t lengths[VOF_BLOCK_MAX_SEGMENTS + 1];
    struct iovec fill[VOF_BLOCK_MAX_SEGMENTS + 1];
    uint8_t command[VOF_FRAMED_SIZE(VOF_BLOCK_MAX_SEGMENTS) + VOF_BLK_HEADER_SIZE];
};

/* Start it over the block's queue of this number and return VOF_STARTED, from any thread; or what
 * vof_block_run would return without having asked the device, or VOF_BUSY. Does not wait for room,
 * nor for an answer, but as vof_queue_submit does for the bytes to be taken. `item` and the data
 * are lent until it is done; the operation is copied.
 *
 * Where it is started, and only then, `on_done` is called, once, perhaps before this returns: by the
 * thread that receives for the queue, or by the one that ends it or what was in flight at its end.
 * By then nothing touches `item` any more, its id and its place in the gate are given back. No lock
 * is held. It may free `item` or start another with it, at the same queue, which is sent together
 * with what else is started then. It must not block: so it calls none of the others here, and
 * starts nothing at another queue. With VOF_DECLINED the connection is gone, and it starts nothing.
 *
 * A thread has to drive the queue meanwhile, or wait there: see driving.h. One that drives is not
 * to enter the gate alone, for it would wait for what only it receives. After VOF_BUSY the end of
 * any request is a time to try again; where the caller has none in flight, it may wait in
 * vof_block_run. */
enum vof_result vof_block_start(struct vof_block *block, unsigned queue,
                                struct vof_block_request *item,
                                const struct vof_block_operation *operation,
                                vof_block_on_done *on_done, void *owner);

#endif
