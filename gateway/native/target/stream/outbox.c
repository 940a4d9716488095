// SPDX-License-Identifier: BSD-3-Clause
#include "target/stream/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST_PIECES = 3 };

static int send_all(int fd, struct iovec *pieces, size_t count, int flags)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};

    while (message.msg_iovlen) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return errno == EWOULDBLOCK ? EAGAIN : errno;
        }
        while (message.msg_iovlen && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen) {
            message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

int vof_outbox_send(struct vof_outbox *outbox, const struct iovec *pieces, int count, int more)
{
    struct iovec all[MOST_PIECES];
    size_t number = 0;

    if (outbox->used) {
        all[number].iov_base = outbox->bytes;
        all[number++].iov_len = outbox->used;
    }
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len)
            all[number++] = pieces[i];
    outbox->used = 0;
    return number ? send_all(outbox->fd, all, number, more ? MSG_MORE : 0) : 0;
}

int vof_outbox_flush(struct vof_outbox *outbox)
{
    return vof_outbox_send(outbox, NULL, 0, false);
}

int vof_outbox_splice(struct vof_outbox *outbox, int pipe, size_t size)
{
    int error = vof_outbox_send(outbox, NULL, 0, true);

    if (error)
        return error;
    while (size) {
        ssize_t sent = splice(pipe, NULL, outbox->fd, NULL, size, SPLICE_F_MORE);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EWOULDBLOCK ? EAGAIN : errno;
        if (!sent)
            return EPIPE; /* the pipe has less than was put in: not possible */
        size -= (size_t)sent;
    }
    return 0;
}

uint8_t *vof_outbox_room(struct vof_outbox *outbox, size_t size, int *error)
{
    bool full = outbox->used >= VOF_OUTBOX_FULL || outbox->used + size > VOF_OUTBOX_SIZE;

    if (outbox->used && full) {
        *error = vof_outbox_flush(outbox);
        if (*error)
            return NULL;
    }
    return outbox->bytes + outbox->used;
}
