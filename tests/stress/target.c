/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Several native queues of one target's disk, without Python, so that the thread sanitizer sees
 * every access: initiators with many requests in flight, whose completions come in any order, who
 * leave in the middle, send nonsense, or have their queue stopped under them; and the device's
 * threads, which may still be at work for a queue that ends.
 *
 * usage: target SECONDS SEED
 *
 * What was written and acknowledged is read back.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "target/stream/queue.h"
#include "../support/demand.h"

enum {
    WORKERS = 4,
    WIDTH = 4,
    BLOCK = 4096,
    BLOCKS = 256,     /* of one worker */
    MOST_BLOCKS = 48, /* of one request: enough for one that goes through a pipe */
    DEPTH = 6,
    HEAD = VOF_COMMAND_SIZE + 3 * VOF_DESCRIPTOR_SIZE + VOF_BLK_HEADER_SIZE,
};

struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    int fd; /* its end */
    struct vof_served_queue *queue;
    unsigned first[DEPTH], count[DEPTH]; /* blocks of the request with this command id */
    uint32_t version;
    uint8_t bytes[MOST_BLOCKS * BLOCK + 256];
};

static struct vof_device *device;
static _Atomic uint32_t rules = VOF_RULE_FLUSH | VOF_RULE_DISCARD | VOF_RULE_WRITE_ZEROES;
static atomic_bool stop;
static atomic_ulong requests, connections;

static uint32_t next_random(struct worker *worker) /* xorshift64* (Vigna 2016) */
{
    worker->random ^= worker->random >> 12;
    worker->random ^= worker->random << 25;
    worker->random ^= worker->random >> 27;
    return (uint32_t)(worker->random * UINT64_C(2685821657736338717) >> 32);
}

/* The target's side: what Python does. */

static void *serve(void *argument)
{
    struct vof_served_queue *queue = argument;
    struct vof_report report;
    uint8_t answer[VOF_COMPLETION_SIZE] = {0};
    for (;;) {
        switch (vof_served_queue_serve(queue, &report)) {
        case VOF_EVENT_CONTROL:
            vof_put16(answer + 2, report.command->command_id);
            vof_served_queue_send(queue, answer, sizeof answer);
            break;
        case VOF_EVENT_DISK_ERROR:
            break;
        default:
            return NULL;
        }
    }
}

/* The initiator's side. */

static bool send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t received = recv(fd, data, size, 0);
        if (received <= 0)
            return false;
        data += received;
        size -= (size_t)received;
    }
    return true;
}

static void fill(const struct worker *worker, uint8_t *data, unsigned id)
{
    for (size_t i = 0; i < (size_t)worker->count[id] * BLOCK; i += 8)
        vof_put64(data + i, (uint64_t)worker->version << 32 | (worker->first[id] * BLOCK + i));
}

static bool send_request(struct worker *worker, unsigned id, bool write)
{
    uint32_t length = worker->count[id] * BLOCK;
    uint64_t block = (uint64_t)worker->number * BLOCKS + worker->first[id];
    uint8_t *p = worker->bytes;
    struct vof_descriptor header = {0, VOF_BLK_HEADER_SIZE, 0, VOF_DESC_NEXT};
    struct vof_descriptor data = {0, length, 1, VOF_DESC_NEXT | (write ? 0 : VOF_DESC_WRITE)};
    struct vof_descriptor status = {0, 1, 2, VOF_DESC_WRITE};
    vof_put_vring(p, VOF_FRAMING_CHAINS, (uint16_t)id, 0, 3);
    vof_put_descriptor(p + VOF_COMMAND_SIZE, header);
    vof_put_descriptor(p + VOF_COMMAND_SIZE + VOF_DESCRIPTOR_SIZE, data);
    vof_put_descriptor(p + VOF_COMMAND_SIZE + 2 * VOF_DESCRIPTOR_SIZE, status);
    vof_put_blk_header(p + HEAD - VOF_BLK_HEADER_SIZE, write ? VOF_BLK_OUT : VOF_BLK_IN,
                       block * BLOCK >> VOF_SECTOR_SHIFT);
    if (write)
        fill(worker, p + HEAD, id);
    return send_all(worker->fd, p, HEAD + (write ? length : 0));
}

static bool take_answer(struct worker *worker, bool write, unsigned *seen)
{
    uint8_t head[VOF_COMPLETION_SIZE + 2 * VOF_DESCRIPTOR_SIZE];
    if (!receive_all(worker->fd, head, VOF_COMPLETION_SIZE))
        return false;
    struct vof_completion completion = vof_get_completion(head);
    unsigned id = completion.command_id, descriptors = write ? 1 : 2;
    DEMAND(id < DEPTH && !(*seen & 1u << id));
    DEMAND(!completion.status && completion.ndesc == descriptors);
    *seen |= 1u << id;
    size_t length = (write ? 0 : worker->count[id] * BLOCK) + 1;
    if (!receive_all(worker->fd, head, descriptors * VOF_DESCRIPTOR_SIZE) ||
        !receive_all(worker->fd, worker->bytes, length))
        return false;
    DEMAND(worker->bytes[length - 1] == VOF_BLK_S_OK);
    if (!write) {
        static _Thread_local uint8_t wanted[MOST_BLOCKS * BLOCK];
        fill(worker, wanted, id);
        DEMAND(!memcmp(worker->bytes, wanted, length - 1));
    }
    atomic_fetch_add(&requests, 1);
    return true;
}

/* Send all, then take the answers. With `leave`, leave before that in one of several ways. */
static bool exchange(struct worker *worker, bool write, bool leave)
{
    unsigned seen = 0, wanted = leave ? next_random(worker) % DEPTH : DEPTH;
    for (unsigned id = 0; id < DEPTH; id++)
        if (!send_request(worker, id, write))
            return false;
    for (unsigned i = 0; i < wanted; i++)
        if (!take_answer(worker, write, &seen))
            return false;
    if (!leave)
        return true;
    switch (next_random(worker) % 4) {
    case 0:
        send_all(worker->fd, worker->bytes, 1 + next_random(worker) % 200); /* nonsense */
        break;
    case 1:
        vof_served_queue_stop(worker->queue);
        break;
    case 2:
        vof_served_queue_finish(worker->queue, 0.001);
        break;
    default:
        break; /* the end, in the middle */
    }
    return false;
}

/* Disjoint, so that it is known what is where. */
static void choose_blocks(struct worker *worker)
{
    unsigned place = next_random(worker) % 8;
    worker->version++;
    for (unsigned id = 0; id < DEPTH; id++) {
        worker->first[id] = place;
        worker->count[id] = next_random(worker) % 3 ? 1 + next_random(worker) % 4 : 33;
        place += worker->count[id];
    }
    DEMAND(place <= BLOCKS);
}

static void *converse(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&stop)) {
        int ends[2];
        pthread_t server;
        struct timeval patience = {5, 0};
        DEMAND(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
        setsockopt(ends[1], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        struct vof_served_queue_setup setup = {
            .device = device, .rules = &rules, .fd = ends[1], .width = 1 + worker->number % WIDTH,
            .largest_kept = 1 << 18,
            .stream = {.framing = VOF_FRAMING_CHAINS, .max_ndesc = 8, .max_transfer = 1 << 20}};
        worker->fd = ends[0];
        worker->queue = vof_served_queue_open(&setup);
        DEMAND(worker->queue);
        DEMAND(!pthread_create(&server, NULL, serve, worker->queue));
        bool leave = false;
        while (!leave) {
            choose_blocks(worker);
            leave = next_random(worker) % 6 == 0 || atomic_load(&stop);
            if (!exchange(worker, true, false) || !exchange(worker, false, leave))
                break;
        }
        shutdown(ends[0], SHUT_RDWR);
        pthread_join(server, NULL);
        vof_served_queue_close(worker->queue);
        close(ends[0]);
        close(ends[1]);
        atomic_fetch_add(&connections, 1);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    DEMAND(count == 3);
    signal(SIGPIPE, SIG_IGN); /* as Python has it: there is no splice without */
    static struct worker workers[WORKERS];
    char name[] = "/tmp/vof-stress-XXXXXX";
    int fd = mkstemp(name);
    uint64_t size = (uint64_t)WORKERS * BLOCKS * BLOCK;
    DEMAND(fd >= 0 && !unlink(name) && !ftruncate(fd, (off_t)size));
    struct vof_block_limits limits = {64, 64, 4, false};
    device = vof_device_open(&limits, size, WIDTH);
    DEMAND(device);
    vof_store_open_file(&device->store, fd, false, false, true);
    uint64_t seed = strtoull(arguments[2], NULL, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].number = i;
        workers[i].random = seed * 31 + i + 1;
        DEMAND(!pthread_create(&workers[i].thread, NULL, converse, &workers[i]));
    }
    time_t end = time(NULL) + strtol(arguments[1], NULL, 0);
    for (uint64_t half = 0; time(NULL) < end; half = size / 2 - half) {
        /* The disk grows and shrinks, beyond what anybody uses. */
        atomic_store(&device->capacity, size + half);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    vof_device_close(device);
    close(fd);
    printf("%lu requests answered over %lu connections\n", atomic_load(&requests),
           atomic_load(&connections));
    DEMAND(atomic_load(&requests) > 100 && atomic_load(&connections) > WORKERS);
    return 0;
}
