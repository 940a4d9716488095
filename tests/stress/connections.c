/* SPDX-License-Identifier: BSD-3-Clause */
#include "connections.h"

#include <string.h>
#include <sys/socket.h>

#include "initiator/tcp.h"
#include "peer.h"
#include "../support/demand.h"

atomic_ulong connections_lost, connections_resubmitted;

static struct {
    struct vof_queue *queue;
    uint64_t random;
    enum phase (*phase)(void);
} follower;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct vofi_request *items[MOST_KEPT];
    unsigned count;
    bool lost;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void connections_on_lost(struct vof_queue *queue, void *context, struct vofi_request *in_flight)
{
    (void)queue;
    (void)context;
    uint64_t last = 0;
    pthread_mutex_lock(&kept.lock);
    for (struct vofi_request *each = in_flight; each; each = each->next_out) {
        DEMAND(each == in_flight || each->sequence > last);
        last = each->sequence;
        DEMAND(kept.count < MOST_KEPT);
        kept.items[kept.count++] = each;
    }
    kept.lost = true;
    pthread_cond_signal(&kept.changed);
    pthread_mutex_unlock(&kept.lock);
    atomic_fetch_add(&connections_lost, 1);
}

struct vof_transport *connections_make(uint64_t seed, bool faulty)
{
    int ends[2];
    DEMAND(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    int small = 4096;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    peer_start(ends[1], seed, faulty);
    struct vof_transport *transport = vof_tcp_new(ends[0]);
    DEMAND(transport);
    return transport;
}

static unsigned take_kept(struct vofi_request **items)
{
    pthread_mutex_lock(&kept.lock);
    while (!kept.lost)
        pthread_cond_wait(&kept.changed, &kept.lock);
    kept.lost = false;
    unsigned count = kept.count;
    memcpy(items, kept.items, sizeof kept.items);
    kept.count = 0;
    pthread_mutex_unlock(&kept.lock);
    return count;
}

static void *follow(void *argument)
{
    (void)argument;
    struct vof_queue *queue = follower.queue;
    uint64_t *random = &follower.random;
    for (;;) {
        struct vofi_request *items[MOST_KEPT];
        unsigned count = take_kept(items);
        enum phase phase = follower.phase();
        unsigned first = count ? peer_random(random) % (count + 1) : 0;
        for (unsigned i = 0; i < first; i++) /* some before there is another connection */
            vof_queue_end(queue, items[i]);
        if (phase == OVER) {
            DEMAND(first == count);
            return NULL;
        }
        DEMAND(vof_queue_attach(queue, connections_make(*random, follower.phase() == GOING)));
        for (unsigned i = count; i-- > first;) {
            if (peer_random(random) % 3 && vof_queue_resubmit(queue, items[i]))
                atomic_fetch_add(&connections_resubmitted, 1);
            else
                vof_queue_end(queue, items[i]);
        }
    }
}

pthread_t connections_follow(struct vof_queue *queue, uint64_t seed, enum phase (*phase)(void))
{
    pthread_t thread;
    follower.queue = queue;
    follower.random = seed;
    follower.phase = phase;
    DEMAND(!pthread_create(&thread, NULL, follow, NULL));
    return thread;
}

void connections_forget(void)
{
    pthread_mutex_init(&kept.lock, NULL);
    kept.count = 0;
}
