/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What was done of one kind of request: the twin of vof.counts, whose Count says what each field
 * is. For both ends; each keeps and guards its own. Must not know what a kind means.
 */
#ifndef VOF_COUNTS_H
#define VOF_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    VOF_LATENCY_BUCKETS = 24, /* up to 4 us, doubled up to 16.8 s, and beyond */
};

struct vof_count {
    uint64_t requests, data_bytes, refused, failed, lost;
    uint64_t nanoseconds;
    uint64_t latencies[VOF_LATENCY_BUCKETS];
};

/* The bucket of a latency: number i holds what is beyond 2 << i and at most 4 << i microseconds,
 * the first and the last everything that is left. */
static inline unsigned vof_latency_bucket(uint64_t nanoseconds)
{
    uint64_t fours = (nanoseconds + 3999) / 4000; /* of 4 us, begun */
    unsigned bucket = fours < 2 ? 0 : 64 - (unsigned)__builtin_clzll(fours - 1);
    return bucket < VOF_LATENCY_BUCKETS ? bucket : VOF_LATENCY_BUCKETS - 1;
}

static inline void vof_count_answered(struct vof_count *count, int64_t nanoseconds)
{
    uint64_t taken = nanoseconds > 0 ? (uint64_t)nanoseconds : 0;
    count->requests++;
    count->nanoseconds += taken;
    count->latencies[vof_latency_bucket(taken)]++;
}

#endif
