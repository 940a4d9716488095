/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/block.h"

#include "initiator/framing.h"
#include "initiator/room.h"
#include "initiator/sending.h"
#include "initiator/statistics.h"
#include "initiator/waiting.h"

#define STATUS_UNWRITTEN 0xff /* the status byte as it is sent: no success */

static const struct {
    enum vof_blk_type type;
    const char *name;
} KINDS[VOF_BLOCK_KINDS] = {
    {VOF_BLK_IN, "VIRTIO_BLK_T_IN"},
    {VOF_BLK_OUT, "VIRTIO_BLK_T_OUT"},
    {VOF_BLK_FLUSH, "VIRTIO_BLK_T_FLUSH"},
    {VOF_BLK_DISCARD, "VIRTIO_BLK_T_DISCARD"},
    {VOF_BLK_WRITE_ZEROES, "VIRTIO_BLK_T_WRITE_ZEROES"},
};

const char *vof_block_kind_name(unsigned kind)
{
    return KINDS[kind].name;
}

static uint8_t kind_of(enum vof_blk_type type)
{
    uint8_t kind = 0;
    while (kind < VOF_BLOCK_KINDS - 1 && KINDS[kind].type != type)
        kind++;
    return kind;
}

/* A thread keeps to one queue, so that its data stays near it. */
static struct vof_queue *queue_of_thread(const struct vof_block *block)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned number;
    if (!number)
        number = 1 + (atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) & 0xffff);
    return block->queues[number % block->count];
}

void vof_block_prepare(const struct vof_block *block, struct vof_block_request *item,
                       enum vof_blk_type type, uint64_t sector, void *data, uint32_t length,
                       bool data_out)
{
    struct vofi_request *request = &item->request;
    struct vof_shape shape = {
        .header = VOF_BLK_HEADER_SIZE,
        .length = length,
        .data_out = data_out,
        .size_max = block->geometry.size_max,
        .tail = sizeof item->status,
    };
    item->status = STATUS_UNWRITTEN;
    vof_frame_landing(&request->landing, &shape, item->writable, data, &item->status);
    request->landing.lengths = item->lengths;
    request->landing.fill = item->fill;
    size_t size = vof_frame_command(item->command, block->framing, &shape, &request->landing,
                                    &item->room);
    vof_put_blk_header(item->command + size, type, sector);
    item->out[0] = (struct iovec){item->command, size + VOF_BLK_HEADER_SIZE};
    item->out[1] = (struct iovec){data, length};
    request->kind = kind_of(type);
    request->data_bytes = length;
    request->what = vof_block_kind_name(request->kind);
    request->out = item->out;
    request->out_count = data_out && length ? 2 : 1;
    request->timeout = block->timeout;
    request->unattended = false;
    request->on_done = NULL;
}

void vof_block_set_id(struct vof_block_request *item, uint16_t id)
{
    vof_frame_id(item->command, &item->request.landing, id);
}

enum vof_result vof_block_judge(const struct vof_block_request *item, struct vof_failed *failed)
{
    const struct vof_landing *landing = &item->request.landing;
    failed->what = item->request.what;
    if (item->request.outcome != VOF_ARRIVED)
        return VOF_DECLINED;
    failed->status = landing->completion.status;
    if (failed->status)
        return VOF_REFUSED;
    unsigned last = landing->count - 1u;
    failed->arrived = failed->wanted = 0;
    /* virtio's used length: what the device says it has written, whatever came back. */
    uint32_t used = (uint32_t)landing->completion.value;
    if (landing->lengths[last] != 1 || !used)
        return VOF_BROKEN;
    failed->status = item->status;
    if (failed->status != VOF_BLK_S_OK)
        return VOF_FAILED;
    for (unsigned i = 0; i < last; i++) {
        failed->arrived += landing->lengths[i];
        failed->wanted += landing->writable[i].iov_len;
    }
    if (failed->arrived > used - 1)
        failed->arrived = used - 1;
    return failed->arrived < failed->wanted ? VOF_BROKEN : VOF_CARRIED;
}

static enum vof_result run(struct vof_block *block, enum vof_blk_type type, uint64_t sector,
                           void *data, uint32_t length, bool data_out, struct vof_failed *failed)
{
    struct vof_queue *queue = queue_of_thread(block);
    struct vof_block_request item;
    struct vofi_request *request = &item.request;
    vof_block_prepare(block, &item, type, sector, data, length, data_out);
    int id = vof_queue_take_id(queue, item.room, true);
    if (id < 0)
        return VOF_DECLINED;
    vof_block_set_id(&item, (uint16_t)id);
    enum vof_result result = VOF_DECLINED;
    if (vof_queue_submit(queue, &request, 1)) {
        vof_queue_wait(queue, request, false);
        result = vof_block_judge(&item, failed);
        if (result == VOF_FAILED)
            vof_queue_count_failed(queue, request->kind);
    }
    vof_queue_give_back_id(queue, (uint16_t)id, item.room);
    return result;
}

/* Whole blocks within the device, not more than `most` bytes. */
static bool is_plain(const struct vof_block *block, uint64_t offset, uint32_t length, uint64_t most)
{
    const struct vof_geometry *geometry = &block->geometry;
    uint64_t size = __atomic_load_n(&geometry->size, __ATOMIC_RELAXED);
    return length && length <= most && !((offset | length) & (geometry->block_size - 1)) &&
           offset <= size && length <= size - offset;
}

void vof_block_resize(struct vof_block *block, uint64_t size)
{
    __atomic_store_n(&block->geometry.size, size, __ATOMIC_RELAXED);
}

enum vof_result vof_block_read(struct vof_block *block, void *data, uint32_t length,
                               uint64_t offset, struct vof_failed *failed)
{
    if (!is_plain(block, offset, length, block->geometry.max_transfer))
        return VOF_DECLINED;
    return run(block, VOF_BLK_IN, offset >> VOF_SECTOR_SHIFT, data, length, false, failed);
}

enum vof_result vof_block_write(struct vof_block *block, const void *data, uint32_t length,
                                uint64_t offset, struct vof_failed *failed)
{
    if (block->geometry.read_only ||
        !is_plain(block, offset, length, block->geometry.max_transfer))
        return VOF_DECLINED;
    vof_gate_enter(&block->gate);
    /* It is only read. */
    enum vof_result result = run(block, VOF_BLK_OUT, offset >> VOF_SECTOR_SHIFT,
                                 (void *)(uintptr_t)data, length, true, failed);
    vof_gate_leave(&block->gate);
    return result;
}

enum vof_result vof_block_flush(struct vof_block *block, struct vof_failed *failed)
{
    if (!block->geometry.can_flush)
        return VOF_CARRIED;
    return run(block, VOF_BLK_FLUSH, 0, NULL, 0, false, failed);
}

static enum vof_result run_segment(struct vof_block *block, enum vof_blk_type type,
                                   uint32_t length, uint64_t offset, uint32_t flags,
                                   struct vof_failed *failed)
{
    uint8_t segment[VOF_BLK_SEGMENT_SIZE];
    vof_put64(segment, offset >> VOF_SECTOR_SHIFT);
    vof_put32(segment + 8, length >> VOF_SECTOR_SHIFT);
    vof_put32(segment + 12, flags);
    vof_gate_enter(&block->gate);
    enum vof_result result = run(block, type, 0, segment, sizeof segment, true, failed);
    vof_gate_leave(&block->gate);
    return result;
}

enum vof_result vof_block_discard(struct vof_block *block, uint32_t length, uint64_t offset,
                                  struct vof_failed *failed)
{
    if (!is_plain(block, offset, length, block->geometry.max_discard))
        return VOF_DECLINED;
    return run_segment(block, VOF_BLK_DISCARD, length, offset, 0, failed);
}

enum vof_result vof_block_write_zeroes(struct vof_block *block, uint32_t length, uint64_t offset,
                                       bool unmap, struct vof_failed *failed)
{
    if (!is_plain(block, offset, length, block->geometry.max_write_zeroes))
        return VOF_DECLINED;
    uint32_t flags = unmap && block->geometry.may_unmap ? VOF_BLK_SEGMENT_UNMAP : 0;
    return run_segment(block, VOF_BLK_WRITE_ZEROES, length, offset, flags, failed);
}
