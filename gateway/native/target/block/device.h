/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What all queues of one block device share: its data, its limits, its threads and pipes.
 *
 * Owns their lifetime: the device is opened before its first queue and closed after its last.
 */
#ifndef VOF_TARGET_BLOCK_DEVICE_H
#define VOF_TARGET_BLOCK_DEVICE_H

#include "target/block/pipes.h"
#include "target/block/pool.h"
#include "target/block/request.h"
#include "target/block/store.h"

struct vof_device {
    struct vof_store store; /* to be opened by the caller, before the first queue */
    struct vof_block_limits limits;
    /* Bytes that are served, whole sectors. May change between any two requests; one that is begun
     * was checked against what it was then. */
    _Atomic uint64_t capacity;
    struct vof_pool *pool;
    struct vof_pipes pipes;
};

/* `threads` may wait for the disk at the same time. NULL where there is no memory. */
struct vof_device *vof_device_open(const struct vof_block_limits *limits, uint64_t capacity,
                                   unsigned threads);

/* No queue is left. */
void vof_device_close(struct vof_device *device);

#endif
