/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads on one native queue, without Python, so that the thread sanitizer sees every access:
 * they submit alone and in batches, wait as threads and by callback, are interrupted, and check
 * what they got; meanwhile connections fail, time out, are closed here, and others are attached,
 * over which some of what was in flight is sent again.
 *
 * usage: initiator SECONDS SEED
 *
 * Every request must end exactly once, with all of its data or without, and its memory must not be
 * touched afterwards: each worker writes to it at once, which is a race if anyone else still does.
 * Where nothing ends for a while, it says so and aborts.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/deadlines.h"
#include "initiator/ending.h"
#include "initiator/handover.h"
#include "initiator/lead.h"
#include "initiator/queue.h"
#include "initiator/room.h"
#include "initiator/round.h"
#include "initiator/sending.h"
#include "initiator/statistics.h"
#include "initiator/tcp.h"
#include "initiator/waiting.h"
#include "peer.h"
#include "../support/demand.h"

enum {
    WORKERS = 6,
    SIZE = 40,       /* descriptors: fewer than the workers want */
    BATCH = 4,       /* requests of one submission, at most */
    MOST_KEPT = WORKERS * BATCH,
    HUNG = 30,       /* seconds without an end */
};

static void end_here(struct vof_queue *queue)
{
    vof_queue_end_here(queue);
    vof_queue_settle(queue);
}

struct item {
    struct vofi_request request;
    uint8_t head[PEER_HEAD_SIZE];
    struct iovec out[2], writable[2], fill[2];
    uint32_t lengths[2];
    struct peer_command command;
    uint8_t *data;
    atomic_int ends;
    sem_t woken;
};

struct worker {
    pthread_t thread;
    uint64_t random;
    struct item items[BATCH];
    uint8_t extra[300000];
};

static struct vof_queue *queue;
static struct worker workers[WORKERS];
static atomic_bool stop;
static atomic_uint running;
static atomic_ulong ended, arrived, losses, resubmitted, interrupted;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct vofi_request *items[MOST_KEPT];
    unsigned count;
    bool lost;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_lost(struct vof_queue *which, void *context, struct vofi_request *in_flight)
{
    (void)context;
    DEMAND(which == queue);
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
    atomic_fetch_add(&losses, 1);
}

static struct vof_transport *connect_peer(uint64_t seed, bool faulty)
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

/* Who attaches other connections, and ends what is not to be sent again. */
static void *reconnect(void *argument)
{
    uint64_t random = *(uint64_t *)argument;
    for (;;) {
        struct vofi_request *items[MOST_KEPT];
        pthread_mutex_lock(&kept.lock);
        while (!kept.lost)
            pthread_cond_wait(&kept.changed, &kept.lock);
        kept.lost = false;
        unsigned count = kept.count;
        memcpy(items, kept.items, sizeof items);
        kept.count = 0;
        pthread_mutex_unlock(&kept.lock);
        bool over = atomic_load(&stop) && !atomic_load(&running);
        unsigned first = count ? peer_random(&random) % (count + 1) : 0;
        for (unsigned i = 0; i < first; i++) /* some before there is another connection */
            vof_queue_end(queue, items[i]);
        if (over) {
            DEMAND(first == count);
            return NULL;
        }
        DEMAND(vof_queue_attach(queue, connect_peer(random, !atomic_load(&stop))));
        for (unsigned i = count; i-- > first;) {
            if (peer_random(&random) % 3 && vof_queue_resubmit(queue, items[i]))
                atomic_fetch_add(&resubmitted, 1);
            else
                vof_queue_end(queue, items[i]);
        }
    }
}

static void on_done(void *owner)
{
    struct item *item = owner;
    atomic_fetch_add(&item->ends, 1);
    atomic_fetch_add(&ended, 1);
}

static void wake(void *waker)
{
    sem_post(waker);
}

static void prepare(struct worker *worker, struct item *item, int id)
{
    uint32_t random = peer_random(&worker->random);
    struct peer_command command = {
        .id = (uint16_t)id,
        .extra = random % 8 ? random % 600 : random % sizeof worker->extra,
        .wanted = 2 + (random % 5 ? random % 3000 : random % (PEER_MOST_WANTED - 2)),
        .number = peer_random(&worker->random),
    };
    struct vofi_request *request = &item->request;
    uint32_t half = command.wanted / 2;
    item->command = command;
    peer_put_command(item->head, command);
    memset(item->data, 0xee, command.wanted);
    item->out[0] = (struct iovec){item->head, sizeof item->head};
    item->out[1] = (struct iovec){worker->extra, command.extra};
    item->writable[0] = (struct iovec){item->data, half};
    item->writable[1] = (struct iovec){item->data + half, command.wanted - half};
    memset(request, 0, sizeof *request);
    request->what = "stress";
    request->out = item->out;
    request->out_count = 2;
    request->landing = (struct vof_landing){
        .command_id = (uint16_t)id, .first_id = PEER_FIRST_ID, .count = 2,
        .writable = item->writable, .lengths = item->lengths, .fill = item->fill};
    request->timeout = 50000000 + random % 100000000;
    request->on_done = on_done;
    request->owner = item;
    atomic_store(&item->ends, 0);
}

static void wait_in_thread(struct worker *worker, struct item *item)
{
    while (!vof_queue_wait(queue, &item->request, peer_random(&worker->random) % 2))
        atomic_fetch_add(&interrupted, 1);
}

/* As a task of an event loop does. */
static void wait_by_callback(struct item *item)
{
    struct vofi_request *request = &item->request;
    if (!vof_queue_lead_or_follow(queue, request, wake, &item->woken)) {
        while (sem_wait(&item->woken))
            ;
        if (!vof_queue_leads(queue, request))
            return;
    }
    while (!vofi_request_done(request)) {
        vof_queue_receive(queue, false);
        vof_queue_check_deadline(queue, request);
        if (!vofi_request_done(request) && vof_queue_failure(queue) != VOF_ALIVE)
            sched_yield();
    }
    vof_queue_release_lead(queue);
    if (vof_queue_failure(queue) != VOF_ALIVE)
        vof_queue_settle(queue);
}

static void check(struct item *item)
{
    struct vofi_request *request = &item->request;
    DEMAND(vofi_request_done(request));
    while (!atomic_load(&item->ends)) /* who ended it may not have said so yet */
        sched_yield();
    DEMAND(atomic_load(&item->ends) == 1);
    if (request->outcome == VOF_ARRIVED) {
        DEMAND(item->lengths[0] + item->lengths[1] == item->command.wanted);
        for (uint32_t i = 0; i < item->command.wanted; i++)
            DEMAND(item->data[i] == peer_byte(item->command.number, i));
        atomic_fetch_add(&arrived, 1);
    } else {
        DEMAND(request->outcome == VOF_LOST);
    }
    memset(item->data, 0x55, item->command.wanted);
    memset(item->head, 0x55, sizeof item->head);
}

static void round_of(struct worker *worker)
{
    struct vofi_request *requests[BATCH];
    unsigned count = 0, wanted = 1 + peer_random(&worker->random) % BATCH;
    while (count < wanted) {
        int id = vof_queue_take_id(queue, 3, !count);
        if (id < 0)
            break;
        prepare(worker, &worker->items[count], id);
        requests[count] = &worker->items[count].request;
        count++;
    }
    if (vof_queue_submit(queue, requests, count)) {
        bool by_callback = peer_random(&worker->random) % 3 == 0;
        for (unsigned i = 0; i < count; i++) {
            if (by_callback)
                wait_by_callback(&worker->items[i]);
            else
                wait_in_thread(worker, &worker->items[i]);
        }
        for (unsigned i = 0; i < count; i++)
            check(&worker->items[i]);
    }
    for (unsigned i = 0; i < count; i++)
        vof_queue_give_back_id(queue, worker->items[i].command.id, 3);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&stop))
        round_of(worker);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void ignore(int signal)
{
    (void)signal;
}

/* In a child, which has the queue but none of the threads. */
static void end_in_child(void)
{
    pid_t child = fork();
    DEMAND(child >= 0);
    if (!child) {
        alarm(HUNG);
        pthread_mutex_init(&kept.lock, NULL);
        kept.count = 0;
        end_here(queue);
        _exit(vof_queue_fd(queue) == -1 ? 0 : 1);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        ;
    DEMAND(status == 0);
}

static void disturb(uint64_t *random, bool may_fork)
{
    struct vof_statistics statistics;
    struct vof_activity activity;
    char reason[VOF_REASON_SIZE];
    uint32_t choice = peer_random(random);
    switch (choice % 10) {
    case 0:
        end_here(queue);
        break;
    case 1:
        vof_queue_look(queue);
        break;
    case 2:
        vof_queue_statistics(queue, &statistics);
        vof_queue_activity(queue, &activity);
        vof_queue_reason(queue, reason);
        break;
    case 3:
        vof_queue_resize(queue, SIZE / 2 + choice / 16 % SIZE);
        break;
    case 4:
        vof_queue_set_tick(queue, 1000000 + choice % 50000000);
        break;
    case 5:
        if (may_fork && choice / 16 % 8 == 0)
            end_in_child();
        break;
    case 6:
        vof_queue_settle(queue);
        break;
    default:
        pthread_kill(workers[choice / 16 % WORKERS].thread, SIGUSR1);
    }
}

static void start(uint64_t seed)
{
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGUSR1, &action, NULL);
    queue = vof_queue_new(connect_peer(seed, true), VOF_FRAMING_CHAINS, SIZE, on_lost, NULL);
    DEMAND(queue);
    vof_queue_set_tick(queue, 10000000);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        worker->random = seed * 31 + i + 1;
        for (unsigned j = 0; j < BATCH; j++) {
            worker->items[j].data = malloc(PEER_MOST_WANTED);
            DEMAND(worker->items[j].data);
            sem_init(&worker->items[j].woken, 0, 0);
        }
        atomic_fetch_add(&running, 1);
        DEMAND(!pthread_create(&worker->thread, NULL, work, worker));
    }
}

/* Disturb until the time is over, then until the last worker is done. */
static void supervise(int64_t until, uint64_t *random)
{
    unsigned long before = 0;
    int64_t progress = vof_now();
    while (atomic_load(&running)) {
        struct timespec pause = {0, 300000 + peer_random(random) % 3000000};
        nanosleep(&pause, NULL);
        int64_t now = vof_now();
        if (now < until)
            disturb(random, true);
        else
            atomic_store(&stop, true);
        unsigned long after = atomic_load(&ended);
        if (after != before)
            progress = now;
        before = after;
        if (now - progress > HUNG * INT64_C(1000000000)) {
            struct vof_activity is;
            vof_queue_activity(queue, &is);
            fprintf(stderr, "nothing ends: in flight %lu, leading %d, followers %u, sending %d, "
                            "waiting for room %u, failure %d\n",
                    (unsigned long)is.in_flight, is.leading, is.followers, is.sending,
                    is.waiting_for_room, vof_queue_failure(queue));
            abort();
        }
    }
}

static void finish(pthread_t reconnector)
{
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    /* Twice at most: what ended the queue just now is followed by another connection. */
    void *result;
    struct timespec moment = {0, 20000000};
    end_here(queue);
    while (pthread_tryjoin_np(reconnector, &result)) {
        nanosleep(&moment, NULL);
        end_here(queue);
    }
    struct vof_statistics statistics;
    struct vof_activity activity;
    vof_queue_statistics(queue, &statistics);
    vof_queue_activity(queue, &activity);
    DEMAND(statistics.submitted == statistics.completed);
    DEMAND(!activity.in_flight && !activity.leading && !activity.followers && !activity.sending);
    vof_queue_resize(queue, SIZE);
    DEMAND(vof_queue_take_id(queue, SIZE, false) == 0);
    DEMAND(vof_queue_take_id(queue, 1, false) == -1);
    vof_queue_free(queue);
    while (peer_count())
        nanosleep(&moment, NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        for (unsigned j = 0; j < BATCH; j++)
            free(workers[i].items[j].data);
}

int main(int count, char **arguments)
{
    DEMAND(count == 3);
    uint64_t seed = strtoull(arguments[2], NULL, 0) | 1, random = seed, other = seed + 2;
    int64_t until = vof_now() + (int64_t)(strtod(arguments[1], NULL) * 1e9);
    pthread_t reconnector;
    start(seed);
    DEMAND(!pthread_create(&reconnector, NULL, reconnect, &other));
    supervise(until, &random);
    finish(reconnector);
    printf("%lu requests, %lu answered, %lu connections lost, %lu sent again, %lu interrupted\n",
           atomic_load(&ended), atomic_load(&arrived), atomic_load(&losses),
           atomic_load(&resubmitted), atomic_load(&interrupted));
    DEMAND(atomic_load(&arrived) && atomic_load(&losses) && atomic_load(&resubmitted));
    return 0;
}
