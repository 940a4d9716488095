/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a queue has done so far, and what it is at.
 */
#ifndef VOF_STATISTICS_H
#define VOF_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "counts.h"

struct vof_queue;

enum { VOF_KINDS = 32 };

struct vof_statistics {
    uint64_t submitted, completed;       /* requests */
    uint64_t sends, receives;            /* system calls that moved something */
    uint64_t bytes_sent, bytes_received;
    uint64_t led, followed;              /* waits that received themselves, and those that slept */
};

struct vof_activity {
    uint64_t in_flight; /* requests submitted and not done */
    unsigned followers, waiting_for_room;
    bool leading, sending;
};

void vof_queue_activity(struct vof_queue *queue, struct vof_activity *activity);
void vof_queue_statistics(struct vof_queue *queue, struct vof_statistics *statistics);

/* What was done so far, by kind. That a device has failed a request of `kind`, which was answered,
 * its caller says. */
void vof_queue_counts(struct vof_queue *queue, struct vof_count counts[VOF_KINDS]);
void vof_queue_count_failed(struct vof_queue *queue, uint8_t kind);

#endif
