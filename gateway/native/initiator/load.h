/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A load on one queue of a block device: keeps a number of requests in flight for a time, from one
 * thread, sending and taking completions in batches. What the fabric alone can carry.
 */
#ifndef VOF_LOAD_H
#define VOF_LOAD_H

#include "initiator/block.h"

enum { VOF_LOAD_MAX_DEPTH = 1024, VOF_LOAD_BUCKETS = 512 };

struct vof_load_plan {
    bool write, random;
    uint32_t block_size; /* bytes of a request; whole blocks of the device, within max_transfer */
    unsigned depth;      /* requests in flight, at most VOF_LOAD_MAX_DEPTH */
    int64_t duration;    /* nanoseconds */
    uint64_t seed;
};

struct vof_load_result {
    uint64_t requests, bytes, errors;
    int64_t duration; /* nanoseconds from the first submission to the last completion */
    /* Latencies: bucket (e << 3 | m) counts those of (8 + m) << (e - 3) ns up to the next. */
    uint64_t latencies[VOF_LOAD_BUCKETS];
};

/* False where there is no memory for it. Ends early if the queue does, which a request that takes
 * longer than the block's timeout sees to. */
bool vof_load_run(struct vof_block *block, unsigned queue, const struct vof_load_plan *plan,
                  struct vof_load_result *result);

#endif
