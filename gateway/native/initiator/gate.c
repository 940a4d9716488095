/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/gate.h"

#define CLOSED UINT32_C(0x80000000) /* somebody is alone, or waits for those who pass to be gone */

void vof_gate_init(struct vof_gate *gate)
{
    atomic_init(&gate->passing, 0);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void vof_gate_destroy(struct vof_gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

static void announce(struct vof_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

bool vof_gate_try_enter(struct vof_gate *gate)
{
    if (!(atomic_fetch_add(&gate->passing, 1) & CLOSED))
        return true;
    vof_gate_leave(gate);
    return false;
}

void vof_gate_enter(struct vof_gate *gate)
{
    while (!vof_gate_try_enter(gate)) {
        pthread_mutex_lock(&gate->lock);
        while (atomic_load(&gate->passing) & CLOSED)
            pthread_cond_wait(&gate->changed, &gate->lock);
        pthread_mutex_unlock(&gate->lock);
    }
}

void vof_gate_leave(struct vof_gate *gate)
{
    if (atomic_fetch_sub(&gate->passing, 1) == (CLOSED | 1))
        announce(gate);
}

void vof_gate_enter_alone(struct vof_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (atomic_fetch_or(&gate->passing, CLOSED) & CLOSED)
        pthread_cond_wait(&gate->changed, &gate->lock);
    while (atomic_load(&gate->passing) != CLOSED)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void vof_gate_leave_alone(struct vof_gate *gate)
{
    atomic_fetch_and(&gate->passing, ~CLOSED);
    announce(gate);
}
