/* SPDX-License-Identifier: BSD-3-Clause */
#include "initiator/tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static ssize_t what_happened(const char **why)
{
    if (errno == EAGAIN)
        return VOF_IO_AGAIN;
    if (errno == EINTR)
        return VOF_IO_SIGNAL;
    *why = strerror(errno);
    return VOF_IO_LOST;
}

static struct msghdr message_of(const struct iovec *parts, unsigned count)
{
    /* The kernel only reads the array. */
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts};
    message.msg_iovlen = count;
    return message;
}

static ssize_t tcp_send(struct vof_transport *transport, const struct iovec *parts, unsigned count,
                        const char **why)
{
    struct msghdr message = message_of(parts, count);
    ssize_t sent = sendmsg(transport->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? what_happened(why) : sent;
}

static ssize_t tcp_receive(struct vof_transport *transport, const struct iovec *parts,
                           unsigned count, bool wait, const char **why)
{
    int flags = wait ? 0 : MSG_DONTWAIT;
    ssize_t received;
    if (count == 1) {
        received = recv(transport->fd, parts->iov_base, parts->iov_len, flags);
    } else {
        struct msghdr message = message_of(parts, count);
        received = recvmsg(transport->fd, &message, flags);
    }
    return received < 0 ? what_happened(why) : received;
}

static unsigned tcp_await(struct vof_transport *transport, unsigned wanted, int64_t nanoseconds)
{
    struct pollfd socket = {transport->fd, 0, 0};
    struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    if (wanted & VOF_IO_READABLE)
        socket.events |= POLLIN;
    if (wanted & VOF_IO_WRITABLE)
        socket.events |= POLLOUT;
    if (ppoll(&socket, 1, nanoseconds < 0 ? NULL : &limit, NULL) <= 0)
        return 0;
    unsigned found = 0;
    if (socket.revents & ~POLLOUT) /* the end, too, is received */
        found |= VOF_IO_READABLE;
    if (socket.revents & POLLOUT)
        found |= VOF_IO_WRITABLE;
    return found & wanted ? found & wanted : wanted;
}

static void tcp_set_tick(struct vof_transport *transport, int64_t nanoseconds)
{
    struct timeval tick = {nanoseconds / 1000000000, nanoseconds % 1000000000 / 1000};
    setsockopt(transport->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
}

static void tcp_interrupt(struct vof_transport *transport)
{
    shutdown(transport->fd, SHUT_RDWR);
}

static void tcp_discard(struct vof_transport *transport)
{
    close(transport->fd);
    free(transport);
}

struct vof_transport *vof_tcp_new(int fd)
{
    static const struct vof_transport_table table = {
        .send = tcp_send,
        .receive = tcp_receive,
        .await = tcp_await,
        .set_tick = tcp_set_tick,
        .interrupt = tcp_interrupt,
        .discard = tcp_discard,
    };
    struct vof_transport *transport = calloc(1, sizeof *transport);
    if (transport) {
        transport->table = &table;
        transport->fd = fd;
    }
    return transport;
}

void vof_tcp_leave(struct vof_transport *transport)
{
    free(transport);
}
