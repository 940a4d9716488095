/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lets whole-block writes pass side by side, and a read-modify-write only alone: otherwise that
 * could put back bytes which a neighbour has just replaced. One atomic operation to enter and one
 * to leave while nobody wants to be alone. The native twin of vof.gateways.disk.WriteGate.
 */
#ifndef VOF_GATE_H
#define VOF_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vof_gate {
    _Atomic uint32_t passing; /* and the bit VOF_GATE_CLOSED */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

void vof_gate_init(struct vof_gate *gate);
void vof_gate_destroy(struct vof_gate *gate);

void vof_gate_enter(struct vof_gate *gate);
/* False where it would have to wait. */
bool vof_gate_try_enter(struct vof_gate *gate);
void vof_gate_leave(struct vof_gate *gate);

void vof_gate_enter_alone(struct vof_gate *gate);
void vof_gate_leave_alone(struct vof_gate *gate);

#endif
