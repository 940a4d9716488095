/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The clock of both ends: for deadlines, latencies and how long something took.
 */
#ifndef VOF_CLOCK_H
#define VOF_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, nanoseconds. */
static inline int64_t vof_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

#endif
