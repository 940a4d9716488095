/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pipes through which a file's pages go to a socket without being copied.
 *
 * Owns a device's pipes: how many there are at most, and that one which is handed out is empty.
 * Pages go into a pipe where waiting for the disk holds up nobody; nothing is sent before all of
 * them are there, so that an error is known in time. Must not know requests.
 */
#ifndef VOF_TARGET_BLOCK_PIPES_H
#define VOF_TARGET_BLOCK_PIPES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VOF_MAX_PIPES = 16,
    VOF_PIPE_SIZE = 1 << 20, /* bytes, and so the largest read that goes through one */
};

struct vof_pipe {
    int out; /* to read from, -1 where there is no pipe */
    int in;
    size_t size;
};

struct vof_pipes {
    pthread_mutex_t lock;
    unsigned made; /* the kept ones included */
    unsigned count;
    struct vof_pipe kept[VOF_MAX_PIPES];
};

void vof_pipes_open(struct vof_pipes *pipes);

/* Return a pipe that takes `length` bytes from `offset` of a file on; none where that cannot be. */
struct vof_pipe vof_pipe_take(struct vof_pipes *pipes, size_t length, uint64_t offset);

/* Give it back; it is closed unless it is `empty` again. None is fine. */
void vof_pipe_give(struct vof_pipes *pipes, struct vof_pipe *pipe, bool empty);

/* Put the file's range into the pipe. Returns 0, or an errno: the pipe is not empty then. EAGAIN
 * says that this file has to be read in another way. */
int vof_pipe_fill(const struct vof_pipe *pipe, int fd, size_t length, uint64_t offset);

void vof_pipes_close(struct vof_pipes *pipes);

#endif
