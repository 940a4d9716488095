/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/load.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "initiator/driving.h"

struct slot {
    struct vof_block_request item;
    struct load *load;
    uint8_t *data;
    int64_t started;
};

struct load {
    struct vof_block *block;
    unsigned queue;
    const struct vof_load_plan *plan;
    struct vof_load_result *result; /* of who receives, until the end */
    struct vof_driver driver;
    atomic_uint in_flight; /* and one while the first are being started */
    int64_t until;
    atomic_ulong place;
    atomic_ulong errors;
};

/* Number `place` of a sequence that is the same whoever asks first: splitmix64 (Steele 2014). */
static uint64_t random_at(uint64_t seed, uint64_t place)
{
    uint64_t mixed = seed + (place + 1) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static uint64_t next_offset(struct load *load)
{
    uint64_t size = __atomic_load_n(&load->block->geometry.size, __ATOMIC_RELAXED);
    uint64_t places = size / load->plan->block_size;
    if (!places) /* it has shrunk meanwhile */
        return 0;
    uint64_t place = load->place++;
    if (load->plan->random)
        place = random_at(load->plan->seed, place);
    return place % places * load->plan->block_size;
}

static void count_latency(struct vof_load_result *result, int64_t nanoseconds)
{
    uint64_t value = nanoseconds < 8 ? 8 : (uint64_t)nanoseconds;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
    result->latencies[exponent << 3 | (value >> (exponent - 3) & 7)]++;
}

static void on_done(void *owner, enum vof_result how, const struct vof_failed *failed);

static bool start(struct load *load, struct slot *slot, int64_t now)
{
    struct vof_block_operation operation = {
        .type = load->plan->write ? VOF_BLK_OUT : VOF_BLK_IN,
        .length = load->plan->block_size,
        .offset = next_offset(load),
        .data = slot->data,
    };
    slot->started = now;
    return vof_block_start(load->block, load->queue, &slot->item, &operation, on_done, slot) ==
           VOF_STARTED;
}

static void end_one(struct load *load)
{
    if (atomic_fetch_sub(&load->in_flight, 1) == 1)
        vof_queue_stop(load->block->queues[load->queue], &load->driver);
}

static void on_done(void *owner, enum vof_result how, const struct vof_failed *failed)
{
    struct slot *slot = owner;
    struct load *load = slot->load;
    int64_t now = vof_now();
    (void)failed;
    if (how == VOF_CARRIED) {
        load->result->requests++;
        load->result->bytes += load->plan->block_size;
        count_latency(load->result, now - slot->started);
    } else {
        load->errors++;
    }
    if (how == VOF_DECLINED || now >= load->until || !start(load, slot, now))
        end_one(load);
}

/* Keep the slots busy; return when the last request has ended. */
static void run(struct load *load, struct slot *slots)
{
    int64_t begin = vof_now();
    load->until = begin + load->plan->duration;
    load->in_flight = 1;
    for (unsigned i = 0; i < load->plan->depth; i++) {
        load->in_flight++;
        if (!start(load, &slots[i], begin)) { /* the queue holds no more */
            end_one(load);
            break;
        }
    }
    end_one(load);
    vof_queue_drive(load->block->queues[load->queue], &load->driver, 0);
    load->result->duration = vof_now() - begin;
    load->result->errors = load->errors;
}

bool vof_load_run(struct vof_block *block, unsigned queue, const struct vof_load_plan *plan,
                  struct vof_load_result *result)
{
    struct load load = {.block = block, .queue = queue, .plan = plan, .result = result};
    memset(result, 0, sizeof *result);
    struct slot *slots = calloc(plan->depth, sizeof *slots);
    uint8_t *data = calloc(plan->depth, plan->block_size);
    bool ready = slots && data;
    if (ready) {
        for (unsigned i = 0; i < plan->depth; i++) {
            slots[i].load = &load;
            slots[i].data = data + (size_t)i * plan->block_size;
        }
        run(&load, slots);
    }
    free(slots);
    free(data);
    return ready;
}
