// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"

enum {
    PAGE = 4096, /* a write of whole pages needs nothing that is on the medium */
    ZEROS_SIZE = 1 << 16,
};

#define SLOW_WRITE INT64_C(2000000)   /* ns */
#define SLOW_TIME INT64_C(1000000000) /* ns */

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static const uint8_t zeros[ZEROS_SIZE];

static void begin(struct vof_store *store)
{
    memset(store, 0, sizeof *store);
    store->fd = -1;
    atomic_init(&store->can_read_now, true);
    atomic_init(&store->can_zero_range, true);
    atomic_init(&store->slow_until, 0);
}

void vof_store_open_memory(struct vof_store *store, uint8_t *memory)
{
    begin(store);
    store->memory = memory;
    store->can_discard = true;
    store->always_quick = true;
    store->quick_writes = true;
}

void vof_store_open_file(struct vof_store *store, int fd, bool readonly, bool write_through,
                         bool can_discard)
{
    struct statfs system;
    struct stat file;

    begin(store);
    store->fd = fd;
    store->readonly = readonly;
    store->write_through = write_through;
    store->can_discard = can_discard;
    /* A block device shows the file system its node is in: that says nothing. */
    if (fstat(fd, &file) || fstatfs(fd, &system))
        return;
    store->piped = S_ISBLK(file.st_mode);
    if (!S_ISREG(file.st_mode))
        return;
    switch ((unsigned long)system.f_type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
        store->always_quick = true;
        store->quick_writes = true;
        store->piped = true;
        break;
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
        store->quick_writes = true;
        store->piped = true;
        break;
    default: /* some have no pages, or keep them from being the truth: FUSE with direct I/O */
        break;
    }
}

int vof_store_read(struct vof_store *store, uint8_t *buffer, size_t length, uint64_t offset)
{
    if (store->memory) {
        memcpy(buffer, store->memory + offset, length);
        return 0;
    }
    while (length) {
        ssize_t count = pread(store->fd, buffer, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno;
        if (!count)
            return VOF_STORE_CUT_SHORT;
        buffer += count;
        length -= (size_t)count;
        offset += (uint64_t)count;
    }
    return 0;
}

int vof_store_read_now(struct vof_store *store, uint8_t *buffer, size_t length, uint64_t offset)
{
    struct iovec piece = {buffer, length};
    ssize_t count;

    if (store->always_quick)
        return vof_store_read(store, buffer, length, offset);
    if (!length)
        return 0;
    if (!atomic_load_explicit(&store->can_read_now, memory_order_relaxed))
        return EAGAIN;
    count = preadv2(store->fd, &piece, 1, (off_t)offset, RWF_NOWAIT);
    if (count == (ssize_t)length)
        return 0;
    if (count < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        atomic_store_explicit(&store->can_read_now, false, memory_order_relaxed);
    /* Whatever else it was, a read that may wait will find it again. */
    return EAGAIN;
}

static int write_some(struct vof_store *store, const uint8_t *data, size_t length, uint64_t offset,
                      bool persist, size_t *written)
{
    struct iovec piece = {(void *)(uintptr_t)data, length};
    ssize_t count = pwritev2(store->fd, &piece, 1, (off_t)offset, persist ? RWF_DSYNC : 0);

    if (count < 0 && persist && errno == EOPNOTSUPP) {
        count = pwrite(store->fd, data, length, (off_t)offset);
        if (count > 0 && fdatasync(store->fd))
            return errno;
    }
    if (count < 0)
        return errno;
    if (!count)
        return EIO; /* a write made no progress */
    *written = (size_t)count;
    return 0;
}

static int write_file(struct vof_store *store, const uint8_t *data, size_t length, uint64_t offset,
                      bool persist)
{
    while (length) {
        size_t written = 0;
        int error = write_some(store, data, length, offset, persist, &written);
        if (error == EINTR)
            continue;
        if (error)
            return error;
        data += written;
        length -= written;
        offset += written;
    }
    return 0;
}

int vof_store_write(struct vof_store *store, const uint8_t *data, size_t length, uint64_t offset,
                    bool persist)
{
    int64_t before, after;
    int error;

    if (store->memory) {
        memcpy(store->memory + offset, data, length);
        return 0;
    }
    persist |= store->write_through;
    if (persist || store->always_quick)
        return write_file(store, data, length, offset, persist);
    before = vof_now();
    error = write_file(store, data, length, offset, false);
    after = vof_now();
    if (after - before > SLOW_WRITE)
        atomic_store_explicit(&store->slow_until, after + SLOW_TIME, memory_order_relaxed);
    return error;
}

bool vof_store_quick_write(struct vof_store *store, size_t length, uint64_t offset, bool persist)
{
    int64_t slow_until;

    if (store->memory)
        return true;
    if (!store->quick_writes || persist || store->write_through)
        return false;
    if (store->always_quick)
        return true;
    if ((offset | length) % PAGE)
        return false;
    slow_until = atomic_load_explicit(&store->slow_until, memory_order_relaxed);
    return !slow_until || vof_now() >= slow_until;
}

int vof_store_flush(struct vof_store *store)
{
    if (store->memory || store->readonly)
        return 0;
    while (fdatasync(store->fd))
        if (errno != EINTR)
            return errno;
    return 0;
}

static int allocate(struct vof_store *store, int mode, uint64_t offset, uint64_t length)
{
    while (fallocate(store->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length))
        if (errno != EINTR)
            return errno;
    return 0;
}

/* Whether an errno says that the call is not for this file or range, rather than that it failed. A
 * block device says EINVAL where the range is not a multiple of its own block. */
static bool cannot(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

static void zero_memory(uint8_t *start, uint64_t length, bool unmap)
{
    uint64_t before = (PAGE - (uintptr_t)start % PAGE) % PAGE;
    uint64_t pages;

    if (!unmap || length < before + PAGE) {
        memset(start, 0, length);
        return;
    }
    pages = (length - before) / PAGE * PAGE;
    memset(start, 0, before);
    if (madvise(start + before, pages, MADV_DONTNEED))
        memset(start + before, 0, pages);
    memset(start + before + pages, 0, length - before - pages);
}

int vof_store_discard(struct vof_store *store, uint64_t offset, uint64_t length)
{
    int error;

    if (store->memory) {
        zero_memory(store->memory + offset, length, true);
        return 0;
    }
    error = allocate(store, FALLOC_FL_PUNCH_HOLE, offset, length);
    /* A hint that cannot be followed is not an error. */
    return cannot(error) ? 0 : error;
}

int vof_store_write_zeroes(struct vof_store *store, uint64_t offset, uint64_t length, bool unmap)
{
    int error;

    if (store->memory) {
        zero_memory(store->memory + offset, length, unmap);
        return 0;
    }
    if (unmap && store->can_discard) {
        error = allocate(store, FALLOC_FL_PUNCH_HOLE, offset, length);
        if (!cannot(error))
            return error;
    }
    if (atomic_load_explicit(&store->can_zero_range, memory_order_relaxed)) {
        error = allocate(store, FALLOC_FL_ZERO_RANGE, offset, length);
        if (!cannot(error))
            return error;
        /* EINVAL may be about this range only; the other two are about the file. */
        if (error != EINVAL)
            atomic_store_explicit(&store->can_zero_range, false, memory_order_relaxed);
    }
    while (length) {
        size_t part = length < ZEROS_SIZE ? (size_t)length : ZEROS_SIZE;
        error = write_file(store, zeros, part, offset, store->write_through);
        if (error)
            return error;
        offset += part;
        length -= part;
    }
    return 0;
}
