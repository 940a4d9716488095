/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/load.h"

#include <sched.h>
#include <stdlib.h>

#include "clock.h"
#include "initiator/ending.h"
#include "initiator/lead.h"
#include "initiator/round.h"
#include "initiator/room.h"
#include "initiator/sending.h"
#include "initiator/statistics.h"

struct slot {
    struct vof_block_request item;
    struct load *load;
    struct slot *next; /* among those that are done */
    uint8_t *data;
    int64_t started;
};

struct load {
    struct vof_block *block;
    struct vof_queue *queue;
    const struct vof_load_plan *plan;
    struct vof_load_result *result;
    struct slot *slots;
    uint8_t *data;
    struct slot *done; /* completed, not looked at yet; newest first. Of who leads the queue */
    unsigned in_flight, depth;
    uint64_t random, place;
};

static void on_done(void *owner)
{
    struct slot *slot = owner;
    slot->next = slot->load->done;
    slot->load->done = slot;
}

static uint64_t next_random(struct load *load) /* xorshift64* (Vigna 2016) */
{
    load->random ^= load->random >> 12;
    load->random ^= load->random << 25;
    load->random ^= load->random >> 27;
    return load->random * UINT64_C(2685821657736338717);
}

static uint64_t next_offset(struct load *load)
{
    uint64_t size = __atomic_load_n(&load->block->geometry.size, __ATOMIC_RELAXED);
    uint64_t places = size / load->plan->block_size;
    if (!places) /* it has shrunk meanwhile */
        return 0;
    uint64_t place = load->plan->random ? next_random(load) % places : load->place++ % places;
    return place * load->plan->block_size;
}

static void count_latency(struct vof_load_result *result, int64_t nanoseconds)
{
    uint64_t value = nanoseconds < 8 ? 8 : (uint64_t)nanoseconds;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
    result->latencies[exponent << 3 | (value >> (exponent - 3) & 7)]++;
}

static void prepare(struct load *load, struct slot *slot, int64_t now)
{
    const struct vof_load_plan *plan = load->plan;
    uint16_t id = slot->item.request.landing.command_id;
    vof_block_prepare(load->block, &slot->item, plan->write ? VOF_BLK_OUT : VOF_BLK_IN,
                      next_offset(load) >> VOF_SECTOR_SHIFT, slot->data, plan->block_size,
                      plan->write);
    vof_block_set_id(&slot->item, id);
    slot->item.request.unattended = true;
    slot->item.request.on_done = on_done;
    slot->item.request.owner = slot;
    slot->started = now;
}

/* Look at what is done; return those to be sent again. */
static unsigned reap(struct load *load, struct vofi_request **again, int64_t now, bool more)
{
    unsigned count = 0;
    while (load->done) {
        struct slot *slot = load->done;
        load->done = slot->next;
        load->in_flight--;
        struct vof_failed failed;
        enum vof_result how = vof_block_judge(&slot->item, &failed);
        if (how == VOF_FAILED)
            vof_queue_count_failed(load->queue, slot->item.request.kind);
        if (how == VOF_CARRIED) {
            load->result->requests++;
            load->result->bytes += load->plan->block_size;
            count_latency(load->result, now - slot->started);
        } else {
            load->result->errors++;
        }
        if (more) {
            prepare(load, slot, now);
            again[count++] = &slot->item.request;
        }
    }
    return count;
}

static void submit(struct load *load, struct vofi_request **requests, unsigned count)
{
    if (count && vof_queue_submit(load->queue, requests, count))
        load->in_flight += count;
}

static void run(struct load *load, struct vofi_request **batch)
{
    int64_t start = vof_now(), now = start;
    for (unsigned i = 0; i < load->depth; i++) {
        prepare(load, &load->slots[i], now);
        batch[i] = &load->slots[i].item.request;
    }
    submit(load, batch, load->depth);
    while (load->in_flight) {
        if (!vof_queue_try_lead(load->queue)) {
            sched_yield(); /* to who ends the queue: nobody else leads it */
            continue;
        }
        if (!load->done)
            vof_queue_receive(load->queue, false);
        now = vof_now();
        bool more = now - start < load->plan->duration &&
                    vof_queue_failure(load->queue) == VOF_ALIVE;
        unsigned count = reap(load, batch, now, more);
        vof_queue_release_lead(load->queue);
        submit(load, batch, count);
    }
    load->result->duration = now - start;
}

bool vof_load_run(struct vof_block *block, unsigned queue, const struct vof_load_plan *plan,
                  struct vof_load_result *result)
{
    struct load load = {.block = block, .queue = block->queues[queue], .plan = plan,
                        .result = result, .random = plan->seed | 1, .place = 0};
    struct vofi_request *batch[VOF_LOAD_MAX_DEPTH];
    memset(result, 0, sizeof *result);
    load.slots = calloc(plan->depth, sizeof *load.slots);
    load.data = calloc(plan->depth, plan->block_size);
    bool ready = load.slots && load.data;
    for (; ready && load.depth < plan->depth; load.depth++) {
        struct slot *slot = &load.slots[load.depth];
        slot->load = &load;
        slot->data = load.data + (size_t)load.depth * plan->block_size;
        vof_block_prepare(block, &slot->item, plan->write ? VOF_BLK_OUT : VOF_BLK_IN, 0, slot->data,
                          plan->block_size, plan->write);
        int id = vof_queue_take_id(load.queue, slot->item.room, false);
        if (id < 0)
            break; /* the queue holds no more */
        vof_block_set_id(&slot->item, (uint16_t)id);
    }
    if (ready)
        run(&load, batch);
    for (unsigned i = 0; i < load.depth; i++)
        vof_queue_give_back_id(load.queue, load.slots[i].item.request.landing.command_id,
                               load.slots[i].item.room);
    free(load.slots);
    free(load.data);
    return ready;
}
