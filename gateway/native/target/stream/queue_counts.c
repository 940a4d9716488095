// SPDX-License-Identifier: BSD-3-Clause
#include "clock.h"
#include "target/stream/queue_state.h"

/* What belongs to one thread to change, and to any to read. */
#define GROW(field, by) __atomic_store_n(&(field), (field) + (by), __ATOMIC_RELAXED)
#define LOOK(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static const uint32_t TYPES[VOF_SERVED_KINDS - 1] = {
    VOF_BLK_IN, VOF_BLK_OUT, VOF_BLK_FLUSH, VOF_BLK_DISCARD, VOF_BLK_WRITE_ZEROES,
};

static unsigned kind_of(const struct voft_request *request)
{
    unsigned kind = 0;
    while (kind < VOF_SERVED_KINDS - 1 && TYPES[kind] != request->type)
        kind++;
    return kind;
}

static uint64_t data_of(const struct voft_request *request)
{
    bool moves = request->action == VOF_READ || request->action == VOF_WRITE;
    return moves ? request->length : request->data_size;
}

static void count(struct vof_count *count, uint64_t requests, uint64_t failed, uint64_t data,
                  int64_t nanoseconds)
{
    uint64_t taken = nanoseconds > 0 ? (uint64_t)nanoseconds : 0;
    GROW(count->requests, requests);
    GROW(count->failed, failed);
    GROW(count->data_bytes, data);
    GROW(count->nanoseconds, requests * taken);
    GROW(count->latencies[vof_latency_bucket(taken)], requests);
}

void vof_count_quick(struct vof_served_queue *queue, const struct voft_request *request,
                     bool failed)
{
    struct vof_quick *quick = &queue->quick[kind_of(request)];
    quick->requests++;
    quick->failed += failed;
    quick->data_bytes += failed ? 0 : data_of(request);
    queue->any_quick = true;
}

void vof_count_sent(struct vof_served_queue *queue)
{
    int64_t taken;

    if (!queue->any_quick)
        return;
    taken = vof_now() - queue->received_at;
    for (unsigned kind = 0; kind < VOF_SERVED_KINDS; kind++) {
        struct vof_quick *quick = &queue->quick[kind];
        if (quick->requests)
            count(&queue->counts[kind], quick->requests, quick->failed, quick->data_bytes, taken);
        *quick = (struct vof_quick){0, 0, 0};
    }
    queue->any_quick = false;
}

void vof_count_task(struct vof_served_queue *queue, const struct vof_task *task)
{
    const struct voft_request *request = &task->request;
    bool failed = task->error || request->action == VOF_REFUSE;
    count(&queue->counts[kind_of(request)], 1, failed, failed ? 0 : data_of(request),
          vof_now() - task->received_at);
}

void vof_served_queue_counts(const struct vof_served_queue *queue,
                             struct vof_count counts[VOF_SERVED_KINDS])
{
    for (unsigned kind = 0; kind < VOF_SERVED_KINDS; kind++) {
        const struct vof_count *from = &queue->counts[kind];
        struct vof_count *to = &counts[kind];
        *to = (struct vof_count){0};
        to->requests = LOOK(from->requests);
        to->data_bytes = LOOK(from->data_bytes);
        to->failed = LOOK(from->failed);
        to->nanoseconds = LOOK(from->nanoseconds);
        for (unsigned i = 0; i < VOF_LATENCY_BUCKETS; i++)
            to->latencies[i] = LOOK(from->latencies[i]);
    }
}

uint32_t vof_served_queue_busy(const struct vof_served_queue *queue)
{
    return LOOK(queue->busy);
}
