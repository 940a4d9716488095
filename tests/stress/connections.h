/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The connections of the stress test's queue, one after the other: keeps what on_lost hands over,
 * attaches the next, and ends or sends again what was kept.
 */
#ifndef VOF_STRESS_CONNECTIONS_H
#define VOF_STRESS_CONNECTIONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "initiator/handover.h"

enum { MOST_KEPT = 64 };

/* How far the test is; connections are without faults from CLOSING on, and none follows OVER. */
enum phase { GOING, CLOSING, OVER };

extern atomic_ulong connections_lost, connections_resubmitted;

/* A connection to a peer. */
struct vof_transport *connections_make(uint64_t seed, bool faulty);

vof_on_lost connections_on_lost;

/* Begin to attach others; the thread ends with the first loss that finds the test OVER. */
pthread_t connections_follow(struct vof_queue *queue, uint64_t seed, enum phase (*phase)(void));

/* In a child made by fork: nobody follows here. */
void connections_forget(void);

#endif
