/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a block device keeps its data: a file, a block device or memory.
 *
 * The twin of vof.target.backends.posix and .memory, and like them it does not know virtio: it has
 * bytes at offsets and returns an errno where the disk fails. Owns what may be done at once, in the
 * thread that receives, because it cannot take long: see vof_store_read_now and
 * vof_store_quick_write.
 * Does not own the descriptor or the memory: the backend does, and outlives it. Any thread may call
 * anything; ranges are within the disk, the caller has checked.
 */
#ifndef VOF_TARGET_BLOCK_STORE_H
#define VOF_TARGET_BLOCK_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Beside the errnos: the file is shorter than it was when it was opened. */
enum { VOF_STORE_CUT_SHORT = 1 << 16 };

struct vof_store {
    int fd;          /* -1 where the data is in memory */
    uint8_t *memory; /* NULL where the data is in a file */
    bool readonly;
    bool write_through; /* every write is on the medium when it completes */
    bool can_discard;
    bool always_quick; /* what is in memory, and file systems that are */
    bool piped;        /* its pages can be had without a copy, and are what a read would say */
    bool quick_writes; /* a write without persist goes to the page cache of a local file system */
    _Atomic bool can_read_now;
    _Atomic bool can_zero_range;
    _Atomic int64_t slow_until; /* monotonic nanoseconds: writes are not quick until then */
};

void vof_store_open_memory(struct vof_store *store, uint8_t *memory);

/* `fd` is an open file or block device without O_DIRECT. */
void vof_store_open_file(struct vof_store *store, int fd, bool readonly, bool write_through,
                         bool can_discard);

/* Fill `buffer`, all of it. Returns 0, an errno or VOF_STORE_CUT_SHORT. */
int vof_store_read(struct vof_store *store, uint8_t *buffer, size_t length, uint64_t offset);

/* The same if it needs no waiting for a medium; EAGAIN where it may, or where this cannot tell. */
int vof_store_read_now(struct vof_store *store, uint8_t *buffer, size_t length, uint64_t offset);

/* With `persist` the data is on the medium when this returns 0. */
int vof_store_write(struct vof_store *store, const uint8_t *data, size_t length, uint64_t offset,
                    bool persist);

/* Whether such a write can be made without waiting for a medium. A disk that is far behind makes
 * writers of its page cache wait: after one write of more than 2 ms none is taken to be quick for a
 * second. */
bool vof_store_quick_write(struct vof_store *store, size_t length, uint64_t offset, bool persist);

int vof_store_flush(struct vof_store *store);
int vof_store_discard(struct vof_store *store, uint64_t offset, uint64_t length);
int vof_store_write_zeroes(struct vof_store *store, uint64_t offset, uint64_t length, bool unmap);

#endif
