/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What carries a queue's bytes: a table of functions for each kind of connection, as tcp.h has one.
 *
 * Owns the contract between a queue and its connection. A kind of transport has a structure of its
 * own that begins with this one; it owns the descriptor and whatever else the connection needs.
 * Must not know what the bytes mean, who leads, nor the queue.
 *
 * One thread at a time sends and one at a time receives, but these two are not the same one: what
 * both need, the transport guards. Nothing else is called once `discard` is.
 */
#ifndef VOF_TRANSPORT_H
#define VOF_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct vof_transport;

/* What moved no bytes. */
enum {
    VOF_IO_AGAIN = -1,    /* nothing can be moved now; of a receive that waits: a tick has passed */
    VOF_IO_SIGNAL = -2,   /* a signal came first */
    VOF_IO_LOST = -3,     /* the connection is of no use any more */
};

enum { VOF_IO_READABLE = 1, VOF_IO_WRITABLE = 2 };

struct vof_transport_table {
    /* Send what can be sent without waiting: a part of it, from the front. Returns how many bytes,
     * more than none, or one of VOF_IO_*. After AGAIN `await` WRITABLE says when to try again, with
     * the same bytes first. With LOST `why` is set: words that stay until the thread's next call. */
    ssize_t (*send)(struct vof_transport *transport, const struct iovec *parts, unsigned count,
                    const char **why);

    /* Receive what has come, of at most so many buffers filled one after the other. With `wait`
     * waits for some, a tick at most. Returns how many bytes, 0 where the peer has closed the
     * connection, or one of VOF_IO_*. Sets `buffered`. */
    ssize_t (*receive)(struct vof_transport *transport, const struct iovec *parts, unsigned count,
                       bool wait, const char **why);

    /* Wait at most so many nanoseconds (negative: for ever; 0: only look) until one of `wanted` may
     * be possible; return which are. None: the time is over, or a signal came. Buffered input is
     * readable, and so is the end of a connection. WRITABLE is asked for by who sends, READABLE by
     * who receives, both by one who does both. */
    unsigned (*await)(struct vof_transport *transport, unsigned wanted, int64_t nanoseconds);

    /* Say how long a receive waits that finds nothing: nanoseconds, 0 for ever. From any thread. */
    void (*set_tick)(struct vof_transport *transport, int64_t nanoseconds);

    /* End the connection for both directions: what waits in the other functions returns, and the
     * peer is told as soon as it can be. From any thread, under the queue's lock: does not block. */
    void (*interrupt)(struct vof_transport *transport);

    /* Close it and free it. Nobody is in any other function. In a child made by fork, whose copy
     * it is, the peer must not notice. */
    void (*discard)(struct vof_transport *transport);
};

struct vof_transport {
    const struct vof_transport_table *table;
    int fd; /* what to poll for input, where none is buffered */
    /* There is more input that was taken off the descriptor already and that no poll shows: a queue
     * receives until there is none before it lets anyone wait. Of who receives. */
    bool buffered;
};

#endif
