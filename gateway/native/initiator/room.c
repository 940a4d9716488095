/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/room.h"

#include <stdlib.h>
#include <string.h>

#include "initiator/queue_state.h"

static size_t words_for(uint32_t ids)
{
    return (ids + 63) / 64;
}

bool vof_queue_grow(struct vof_queue *queue, uint32_t ids)
{
    size_t words = words_for(ids), old_words = words_for(queue->ids);
    struct vofi_request **table = realloc(queue->table, ids * sizeof *table);
    if (!table)
        return false;
    queue->table = table;
    uint64_t *free_ids = realloc(queue->free_ids, words * sizeof *free_ids);
    if (!free_ids)
        return false;
    queue->free_ids = free_ids;
    memset(table + queue->ids, 0, (ids - queue->ids) * sizeof *table);
    /* More requests than there is room for there are never, so ids beyond the last are never taken. */
    memset(free_ids + old_words, 0xff, (words - old_words) * sizeof *free_ids);
    queue->ids = ids;
    return true;
}

bool vof_queue_resize(struct vof_queue *queue, uint32_t size)
{
    if (size > VOF_FIRST_RESERVED_COMMAND_ID)
        size = VOF_FIRST_RESERVED_COMMAND_ID;
    pthread_mutex_lock(&queue->lock);
    bool done = size <= queue->ids || vof_queue_grow(queue, size);
    if (done) {
        queue->room += (int64_t)size - queue->size;
        queue->size = size;
        pthread_cond_broadcast(&queue->room_changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return done;
}

uint32_t vof_queue_ids(struct vof_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint32_t ids = queue->ids;
    pthread_mutex_unlock(&queue->lock);
    return ids;
}

static int lowest_free_id(struct vof_queue *queue)
{
    for (size_t word = 0; word < words_for(queue->ids); word++) {
        uint64_t bits = queue->free_ids[word];
        if (bits) {
            queue->free_ids[word] = bits & (bits - 1);
            return (int)(word * 64 + (unsigned)__builtin_ctzll(bits));
        }
    }
    return -1; /* not reached: there are no more requests than there is room for */
}

int vof_queue_take_id(struct vof_queue *queue, uint32_t room, bool wait)
{
    int id = -1;
    pthread_mutex_lock(&queue->lock);
    while (queue->room < room && wait) {
        queue->room_waiters++;
        pthread_cond_wait(&queue->room_changed, &queue->lock);
        queue->room_waiters--;
    }
    if (queue->room >= room) {
        queue->room -= room;
        id = lowest_free_id(queue);
    }
    pthread_mutex_unlock(&queue->lock);
    return id;
}

void vof_queue_give_back_id(struct vof_queue *queue, uint16_t id, uint32_t room)
{
    pthread_mutex_lock(&queue->lock);
    queue->free_ids[id / 64] |= UINT64_C(1) << id % 64;
    queue->room += room;
    if (queue->room_waiters)
        pthread_cond_broadcast(&queue->room_changed);
    pthread_mutex_unlock(&queue->lock);
}
