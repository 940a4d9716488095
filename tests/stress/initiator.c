/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads on one native queue, without Python, so that the thread sanitizer sees every access:
 * they submit alone and in batches, wait as threads and by callback, drive the queue for what calls
 * them back and submit again from there, are interrupted, and check what they got; meanwhile
 * connections fail, time out, are closed here, and others are attached, over which some of what was
 * in flight is sent again.
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
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/deadlines.h"
#include "initiator/driving.h"
#include "initiator/ending.h"
#include "initiator/lead.h"
#include "initiator/queue.h"
#include "initiator/room.h"
#include "initiator/round.h"
#include "initiator/sending.h"
#include "initiator/statistics.h"
#include "initiator/waiting.h"
#include "connections.h"
#include "peer.h"
#include "../support/demand.h"

enum {
    WORKERS = 6,
    SIZE = 40,       /* descriptors: fewer than the workers want */
    BATCH = 4,       /* requests of one submission, at most */
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
    struct worker *worker;
    uint64_t random;
    unsigned repeats; /* of a driven one: how often it is submitted again where it ends */
};

struct worker {
    pthread_t thread;
    uint64_t random;
    struct item items[BATCH];
    uint8_t extra[300000];
    struct vof_driver driver;
    atomic_uint driven; /* items that have not ended */
};

static struct vof_queue *queue;
static struct worker workers[WORKERS];
static atomic_bool stop;
static atomic_uint running;
static atomic_ulong ended, arrived, interrupted, repeated, driven;

static enum phase phase(void)
{
    if (!atomic_load(&stop))
        return GOING;
    return atomic_load(&running) ? CLOSING : OVER;
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
    uint32_t random = peer_random(&item->random);
    struct peer_command command = {
        .id = (uint16_t)id,
        .extra = random % 8 ? random % 600 : random % sizeof worker->extra,
        .wanted = 2 + (random % 5 ? random % 3000 : random % (PEER_MOST_WANTED - 2)),
        .number = peer_random(&item->random),
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

static void check_answer(struct item *item)
{
    DEMAND(item->lengths[0] + item->lengths[1] == item->command.wanted);
    for (uint32_t i = 0; i < item->command.wanted; i++)
        DEMAND(item->data[i] == peer_byte(item->command.number, i));
    atomic_fetch_add(&arrived, 1);
}

static void on_driven(void *owner);

static void drive_this(struct item *item)
{
    item->request.unattended = true;
    item->request.on_done = on_driven;
}

static void on_driven(void *owner)
{
    struct item *item = owner;
    struct vofi_request *request = &item->request;
    struct worker *worker = item->worker;
    atomic_fetch_add(&ended, 1);
    if (request->outcome == VOF_ARRIVED) {
        check_answer(item);
        if (item->repeats) {
            item->repeats--;
            prepare(worker, item, item->command.id);
            drive_this(item);
            if (vof_queue_submit(queue, &request, 1)) {
                atomic_fetch_add(&repeated, 1);
                return;
            }
        }
    } else {
        DEMAND(request->outcome == VOF_LOST);
    }
    memset(item->data, 0x55, item->command.wanted);
    if (atomic_fetch_sub(&worker->driven, 1) == 1)
        vof_queue_stop(queue, &worker->driver);
}

/* As one does who is called back: until the last has ended, whoever ends it. */
static void drive(struct worker *worker)
{
    int64_t deadline;
    do {
        uint32_t random = peer_random(&worker->random);
        deadline = random % 2 ? 0 : vof_now() + random / 2 % 2000000;
    } while (!vof_queue_drive(queue, &worker->driver, deadline));
    DEMAND(!atomic_load(&worker->driven));
    atomic_fetch_add(&driven, 1);
}

static void check(struct item *item)
{
    struct vofi_request *request = &item->request;
    DEMAND(vofi_request_done(request));
    while (!atomic_load(&item->ends)) /* who ended it may not have said so yet */
        sched_yield();
    DEMAND(atomic_load(&item->ends) == 1);
    if (request->outcome == VOF_ARRIVED) {
        check_answer(item);
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
    bool drives = peer_random(&worker->random) % 4 == 0;
    while (count < wanted) {
        int id = vof_queue_take_id(queue, 3, !count);
        if (id < 0)
            break;
        prepare(worker, &worker->items[count], id);
        if (drives)
            drive_this(&worker->items[count]);
        worker->items[count].repeats = peer_random(&worker->random) % 4;
        requests[count] = &worker->items[count].request;
        count++;
    }
    atomic_store(&worker->driven, count);
    bool submitted = vof_queue_submit(queue, requests, count);
    if (submitted && drives) {
        drive(worker);
    } else if (submitted) {
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
        connections_forget();
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
    queue = vof_queue_new(connections_make(seed, true), VOF_FRAMING_CHAINS, SIZE,
                          connections_on_lost, NULL);
    DEMAND(queue);
    vof_queue_set_tick(queue, 10000000);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        worker->random = seed * 31 + i + 1;
        for (unsigned j = 0; j < BATCH; j++) {
            worker->items[j].data = malloc(PEER_MOST_WANTED);
            DEMAND(worker->items[j].data);
            worker->items[j].worker = worker;
            worker->items[j].random = worker->random + 1000 * (j + 1);
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
    uint64_t seed = strtoull(arguments[2], NULL, 0) | 1, random = seed;
    int64_t until = vof_now() + (int64_t)(strtod(arguments[1], NULL) * 1e9);
    start(seed);
    pthread_t reconnector = connections_follow(queue, seed + 2, phase);
    supervise(until, &random);
    finish(reconnector);
    printf("%lu requests, %lu answered, %lu connections lost, %lu sent again, %lu interrupted; "
           "driven %lu times, %lu submitted where they were called back\n",
           atomic_load(&ended), atomic_load(&arrived), atomic_load(&connections_lost),
           atomic_load(&connections_resubmitted), atomic_load(&interrupted), atomic_load(&driven),
           atomic_load(&repeated));
    DEMAND(atomic_load(&arrived) && atomic_load(&connections_resubmitted));
    DEMAND(atomic_load(&driven) && atomic_load(&repeated));
    return 0;
}
