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

/* Whole blocks within the device, not more than `most` bytes. */
static bool is_plain(const struct vof_block *block, const struct vof_block_operation *operation,
                     uint64_t most)
{
    const struct vof_geometry *geometry = &block->geometry;
    uint64_t size = __atomic_load_n(&geometry->size, __ATOMIC_RELAXED);
    uint64_t offset = operation->offset;
    uint32_t length = operation->length;
    return length && length <= most && !((offset | length) & (geometry->block_size - 1)) &&
           offset <= size && length <= size - offset;
}

void vof_block_resize(struct vof_block *block, uint64_t size)
{
    __atomic_store_n(&block->geometry.size, size, __ATOMIC_RELAXED);
}

/* STARTED where it may be. */
static enum vof_result admit(const struct vof_block *block,
                             const struct vof_block_operation *operation)
{
    const struct vof_geometry *geometry = &block->geometry;
    uint64_t most;
    switch (operation->type) {
    case VOF_BLK_FLUSH:
        return geometry->can_flush ? VOF_STARTED : VOF_CARRIED;
    case VOF_BLK_IN:
        most = geometry->max_transfer;
        break;
    case VOF_BLK_OUT:
        most = geometry->read_only ? 0 : geometry->max_transfer;
        break;
    case VOF_BLK_DISCARD:
        most = geometry->max_discard;
        break;
    case VOF_BLK_WRITE_ZEROES:
        most = geometry->max_write_zeroes;
        break;
    default:
        return VOF_DECLINED;
    }
    return is_plain(block, operation, most) ? VOF_STARTED : VOF_DECLINED;
}

/* The one segment of a discard or write zeroes request. */
static void write_segment(struct vof_block_request *item,
                          const struct vof_block_operation *operation)
{
    bool unmap = operation->type == VOF_BLK_WRITE_ZEROES && operation->unmap &&
                 item->block->geometry.may_unmap;
    vof_put64(item->segment, operation->offset >> VOF_SECTOR_SHIFT);
    vof_put32(item->segment + 8, operation->length >> VOF_SECTOR_SHIFT);
    vof_put32(item->segment + 12, unmap ? VOF_BLK_SEGMENT_UNMAP : 0);
}

/* Write a request. It has no command id yet. */
static void prepare(struct vof_block_request *item, const struct vof_block_operation *operation)
{
    const struct vof_block *block = item->block;
    struct vofi_request *request = &item->request;
    bool data_in = operation->type == VOF_BLK_IN;
    bool transfer = data_in || operation->type == VOF_BLK_OUT;
    struct iovec data = {operation->data, operation->length};
    if (!transfer && operation->type != VOF_BLK_FLUSH) {
        write_segment(item, operation);
        data = (struct iovec){item->segment, sizeof item->segment};
    }
    struct vof_shape shape = {
        .header = VOF_BLK_HEADER_SIZE,
        .length = (uint32_t)data.iov_len,
        .data_out = !data_in,
        .size_max = block->geometry.size_max,
        .tail = sizeof item->status,
    };
    item->status = STATUS_UNWRITTEN;
    vof_frame_landing(&request->landing, &shape, item->writable, data.iov_base, &item->status);
    request->landing.lengths = item->lengths;
    request->landing.fill = item->fill;
    size_t size = vof_frame_command(item->command, block->framing, &shape, &request->landing,
                                    &item->room);
    vof_put_blk_header(item->command + size, operation->type,
                       transfer ? operation->offset >> VOF_SECTOR_SHIFT : 0);
    item->out[0] = (struct iovec){item->command, size + VOF_BLK_HEADER_SIZE};
    item->out[1] = data;
    request->kind = kind_of(operation->type);
    request->data_bytes = data.iov_len;
    request->what = vof_block_kind_name(request->kind);
    request->out = item->out;
    request->out_count = !data_in && data.iov_len ? 2 : 1;
    request->timeout = block->timeout;
}

/* How a request that is done has ended. */
static enum vof_result judge(const struct vof_block_request *item, struct vof_failed *failed)
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

/* Give back what a request took, but for its memory. */
static void give_back(struct vof_block_request *item)
{
    vof_queue_give_back_id(item->queue, item->request.landing.command_id, item->room);
    if (item->passes)
        vof_gate_leave(&item->block->gate);
}

static enum vof_result finish(struct vof_block_request *item, struct vof_failed *failed)
{
    enum vof_result result = judge(item, failed);
    if (result == VOF_FAILED)
        vof_queue_count_failed(item->queue, item->request.kind);
    give_back(item);
    return result;
}

static void call_back(void *owner)
{
    struct vof_block_request *item = owner;
    struct vof_failed failed;
    enum vof_result result = finish(item, &failed);
    item->on_done(item->owner, result, &failed);
}

/* Send a request; once that is done it is touched no more where it calls back. */
static enum vof_result begin(struct vof_block *block, struct vof_queue *queue,
                             struct vof_block_request *item,
                             const struct vof_block_operation *operation, bool calls_back)
{
    enum vof_result result = admit(block, operation);
    if (result != VOF_STARTED)
        return result;
    item->block = block;
    item->queue = queue;
    item->passes = operation->type != VOF_BLK_IN && operation->type != VOF_BLK_FLUSH;
    if (item->passes && !calls_back)
        vof_gate_enter(&block->gate);
    else if (item->passes && !vof_gate_try_enter(&block->gate))
        return VOF_BUSY;
    prepare(item, operation);
    int id = vof_queue_take_id(queue, item->room, !calls_back);
    if (id < 0) {
        if (item->passes)
            vof_gate_leave(&block->gate);
        return VOF_BUSY;
    }
    vof_frame_id(item->command, &item->request.landing, (uint16_t)id);
    struct vofi_request *request = &item->request;
    request->unattended = calls_back;
    request->on_done = calls_back ? call_back : NULL;
    request->owner = item;
    if (vof_queue_submit(queue, &request, 1))
        return VOF_STARTED;
    give_back(item);
    return VOF_DECLINED;
}

enum vof_result vof_block_run(struct vof_block *block, const struct vof_block_operation *operation,
                              struct vof_failed *failed)
{
    struct vof_block_request item;
    enum vof_result result = begin(block, queue_of_thread(block), &item, operation, false);
    if (result != VOF_STARTED)
        return result;
    vof_queue_wait(item.queue, &item.request, false);
    return finish(&item, failed);
}

enum vof_result vof_block_start(struct vof_block *block, unsigned queue,
                                struct vof_block_request *item,
                                const struct vof_block_operation *operation,
                                vof_block_on_done *on_done, void *owner)
{
    item->on_done = on_done;
    item->owner = owner;
    return begin(block, block->queues[queue], item, operation, true);
}

enum vof_result vof_block_read(struct vof_block *block, void *data, uint32_t length,
                               uint64_t offset, struct vof_failed *failed)
{
    struct vof_block_operation operation = {VOF_BLK_IN, length, offset, data, false};
    return vof_block_run(block, &operation, failed);
}

enum vof_result vof_block_write(struct vof_block *block, const void *data, uint32_t length,
                                uint64_t offset, struct vof_failed *failed)
{
    void *only_read = (void *)(uintptr_t)data;
    struct vof_block_operation operation = {VOF_BLK_OUT, length, offset, only_read, false};
    return vof_block_run(block, &operation, failed);
}

enum vof_result vof_block_flush(struct vof_block *block, struct vof_failed *failed)
{
    struct vof_block_operation operation = {VOF_BLK_FLUSH, 0, 0, NULL, false};
    return vof_block_run(block, &operation, failed);
}

enum vof_result vof_block_discard(struct vof_block *block, uint32_t length, uint64_t offset,
                                  struct vof_failed *failed)
{
    struct vof_block_operation operation = {VOF_BLK_DISCARD, length, offset, NULL, false};
    return vof_block_run(block, &operation, failed);
}

enum vof_result vof_block_write_zeroes(struct vof_block *block, uint32_t length, uint64_t offset,
                                       bool unmap, struct vof_failed *failed)
{
    struct vof_block_operation operation = {VOF_BLK_WRITE_ZEROES, length, offset, NULL, unmap};
    return vof_block_run(block, &operation, failed);
}
