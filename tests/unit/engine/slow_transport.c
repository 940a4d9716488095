/* SPDX-License-Identifier: BSD-3-Clause */
#include "slow_transport.h"

#include <stdlib.h>
#include <string.h>

#include "initiator/tcp.h"
#include "../../support/demand.h"

enum { PIECE = 7000, LARGEST = 16000 };

struct slow {
    struct vof_transport transport;
    struct vof_transport *under;
    unsigned sends; /* of who sends; the rest of who receives */
    size_t begin, end;
    uint8_t input[LARGEST];
};

static struct slow *slow_of(struct vof_transport *transport)
{
    return (struct slow *)(void *)transport;
}

static ssize_t slow_send(struct vof_transport *transport, const struct iovec *parts, unsigned count,
                         const char **why)
{
    struct slow *slow = slow_of(transport);
    DEMAND(count);
    if (++slow->sends % 5 == 0)
        return VOF_IO_AGAIN;
    struct iovec piece = *parts;
    if (piece.iov_len > PIECE)
        piece.iov_len = PIECE;
    return slow->under->table->send(slow->under, &piece, 1, why);
}

static ssize_t slow_receive(struct vof_transport *transport, const struct iovec *parts,
                            unsigned count, bool wait, const char **why)
{
    struct slow *slow = slow_of(transport);
    DEMAND(count);
    if (slow->begin == slow->end) {
        struct iovec input = {slow->input, sizeof slow->input};
        ssize_t received = slow->under->table->receive(slow->under, &input, 1, wait, why);
        if (received <= 0)
            return received;
        slow->begin = 0;
        slow->end = (size_t)received;
    }
    size_t size = slow->end - slow->begin;
    size_t most = (size + 2) / 3; /* so that there is nearly always more */
    if (size > most)
        size = most;
    if (size > parts->iov_len)
        size = parts->iov_len;
    memcpy(parts->iov_base, slow->input + slow->begin, size);
    slow->begin += size;
    transport->buffered = slow->begin < slow->end;
    return (ssize_t)size;
}

static unsigned slow_await(struct vof_transport *transport, unsigned wanted, int64_t nanoseconds)
{
    struct slow *slow = slow_of(transport);
    if (wanted & VOF_IO_READABLE)
        DEMAND(!transport->buffered); /* nobody is to wait while there is something to receive */
    return slow->under->table->await(slow->under, wanted, nanoseconds);
}

static void slow_set_tick(struct vof_transport *transport, int64_t nanoseconds)
{
    struct slow *slow = slow_of(transport);
    slow->under->table->set_tick(slow->under, nanoseconds);
}

static void slow_interrupt(struct vof_transport *transport)
{
    struct slow *slow = slow_of(transport);
    slow->under->table->interrupt(slow->under);
}

static void slow_discard(struct vof_transport *transport)
{
    struct slow *slow = slow_of(transport);
    slow->under->table->discard(slow->under);
    free(slow);
}

struct vof_transport *slow_transport_new(int fd)
{
    static const struct vof_transport_table table = {
        .send = slow_send,
        .receive = slow_receive,
        .await = slow_await,
        .set_tick = slow_set_tick,
        .interrupt = slow_interrupt,
        .discard = slow_discard,
    };
    struct slow *slow = calloc(1, sizeof *slow);
    DEMAND(slow);
    slow->under = vof_tcp_new(fd);
    DEMAND(slow->under);
    slow->transport.table = &table;
    slow->transport.fd = fd;
    return &slow->transport;
}
