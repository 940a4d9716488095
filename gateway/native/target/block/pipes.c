// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const struct vof_pipe none = {-1, -1, 0};

void vof_pipes_open(struct vof_pipes *pipes)
{
    pthread_mutex_init(&pipes->lock, NULL);
    pipes->made = 0;
    pipes->count = 0;
}

static void close_pipe(struct vof_pipe *pipe)
{
    close(pipe->in);
    close(pipe->out);
    *pipe = none;
}

static bool make_pipe(struct vof_pipe *made)
{
    int ends[2], size;

    if (pipe2(ends, O_CLOEXEC))
        return false;
    made->out = ends[0];
    made->in = ends[1];
    /* A user's pipes are limited together: what there is has to do. */
    fcntl(made->in, F_SETPIPE_SZ, VOF_PIPE_SIZE);
    size = fcntl(made->in, F_GETPIPE_SZ);
    made->size = size > 0 ? (size_t)size : 0;
    return true;
}

struct vof_pipe vof_pipe_take(struct vof_pipes *pipes, size_t length, uint64_t offset)
{
    struct vof_pipe pipe = none;
    size_t needed = length + offset % PAGE; /* a place for each page that is touched */
    bool make = false;

    if (needed > VOF_PIPE_SIZE)
        return none;
    pthread_mutex_lock(&pipes->lock);
    if (pipes->count) {
        pipe = pipes->kept[--pipes->count];
    } else if (pipes->made < VOF_MAX_PIPES) {
        pipes->made++;
        make = true;
    }
    pthread_mutex_unlock(&pipes->lock);
    if (make && !make_pipe(&pipe)) {
        pthread_mutex_lock(&pipes->lock);
        pipes->made--;
        pthread_mutex_unlock(&pipes->lock);
        return none;
    }
    if (pipe.out >= 0 && needed > pipe.size)
        vof_pipe_give(pipes, &pipe, true);
    return pipe;
}

void vof_pipe_give(struct vof_pipes *pipes, struct vof_pipe *pipe, bool empty)
{
    if (pipe->out < 0)
        return;
    if (!empty)
        close_pipe(pipe);
    pthread_mutex_lock(&pipes->lock);
    if (pipe->out < 0)
        pipes->made--;
    else
        pipes->kept[pipes->count++] = *pipe;
    pthread_mutex_unlock(&pipes->lock);
    *pipe = none;
}

int vof_pipe_fill(const struct vof_pipe *pipe, int fd, size_t length, uint64_t offset)
{
    while (length) {
        off64_t place = (off64_t)offset;
        /* Not to wait where the pipe is full, which would be for ever; for the disk it waits. */
        ssize_t count = splice(fd, &place, pipe->in, NULL, length, SPLICE_F_NONBLOCK);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno == EINVAL ? EAGAIN : errno;
        if (!count)
            return EIO; /* the file is shorter than it was: its reader will say so */
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return 0;
}

void vof_pipes_close(struct vof_pipes *pipes)
{
    while (pipes->count)
        close_pipe(&pipes->kept[--pipes->count]);
    pthread_mutex_destroy(&pipes->lock);
}
