/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The threads of one device that may wait for its medium, so that the threads that receive do not.
 *
 * Owns the threads: they begin when there is work and none is free, up to a number, and end when
 * there was none for a while. Must not know what the work is.
 */
#ifndef VOF_TARGET_BLOCK_POOL_H
#define VOF_TARGET_BLOCK_POOL_H

#include <stdbool.h>

struct vof_pool;

/* Work for the pool. It stays the caller's, who must not touch it until `run` is called. */
struct vof_work {
    struct vof_work *next;
    void (*run)(struct vof_work *work);
};

/* Return a pool of at most `threads`, none of them begun; NULL where there is no memory. */
struct vof_pool *vof_pool_open(unsigned threads);

/* Run `work` in another thread some time; false, and it was not taken, where no thread could be
 * had at all. */
bool vof_pool_submit(struct vof_pool *pool, struct vof_work *work);

/* Wait for everything that was submitted, end the threads. The caller has seen to it that nothing
 * more will be submitted. In a child of fork, which has none of the threads, returns at once. */
void vof_pool_close(struct vof_pool *pool);

#endif
