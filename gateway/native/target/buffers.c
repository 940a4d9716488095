// SPDX-License-Identifier: BSD-3-Clause
#include "target/buffers.h"

#include <sys/mman.h>

enum { STEP = 1 << 16 };

static void release(struct vof_buffer *buffer)
{
    if (buffer->data)
        munmap(buffer->data, buffer->size);
    buffer->data = NULL;
    buffer->size = 0;
}

bool vof_buffer_take(struct vof_stash *stash, size_t size, struct vof_buffer *buffer)
{
    void *data;

    for (uint32_t i = stash->count; i-- > 0;) {
        if (stash->kept[i].size >= size) {
            *buffer = stash->kept[i];
            stash->kept[i] = stash->kept[--stash->count];
            return true;
        }
    }
    size = (size + STEP - 1) / STEP * STEP;
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return false;
    buffer->data = data;
    buffer->size = size;
    return true;
}

void vof_buffer_give(struct vof_stash *stash, struct vof_buffer *buffer)
{
    if (!buffer->data)
        return;
    if (buffer->size > stash->largest || !stash->keep) {
        release(buffer);
        return;
    }
    if (stash->count == stash->keep) {
        /* The larger one serves more requests. */
        uint32_t least = 0;
        for (uint32_t i = 1; i < stash->count; i++)
            if (stash->kept[i].size < stash->kept[least].size)
                least = i;
        if (stash->kept[least].size >= buffer->size) {
            release(buffer);
            return;
        }
        release(&stash->kept[least]);
        stash->kept[least] = stash->kept[--stash->count];
    }
    stash->kept[stash->count++] = *buffer;
    buffer->data = NULL;
    buffer->size = 0;
}

void vof_stash_empty(struct vof_stash *stash)
{
    while (stash->count)
        release(&stash->kept[--stash->count]);
}
