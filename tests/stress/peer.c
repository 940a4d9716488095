/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

enum {
    MOST_HELD = 64,
    EARLY = 1000,      /* more bytes than a command has mostly */
    AT_ONCE = 4000,    /* bytes that one receive takes together if one send gave them */
    UNUSED_IDS = 1000, /* command ids from here on are never in flight */
};

struct peer {
    int fd;
    uint64_t random;
    bool faulty;
    struct peer_command held[MOST_HELD]; /* received and not answered */
    unsigned count;
    uint8_t answer[VOF_COMPLETION_SIZE + 2 * VOF_DESCRIPTOR_SIZE + PEER_MOST_WANTED];
};

static atomic_uint peers;

uint32_t peer_random(uint64_t *state) /* xorshift64* (Vigna 2016) */
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * UINT64_C(2685821657736338717) >> 32);
}

void peer_put_command(uint8_t *p, struct peer_command command)
{
    vof_put16(p, VOF_OP_VRING);
    vof_put16(p + 2, command.id);
    vof_put32(p + 4, command.extra);
    vof_put32(p + 8, command.wanted);
    vof_put32(p + 12, command.number);
}

static bool receive(struct peer *peer, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t count = recv(peer->fd, data, size, 0);
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

static bool send_in_pieces(struct peer *peer, size_t size)
{
    size_t place = 0;
    while (place < size) {
        uint32_t random = peer_random(&peer->random);
        size_t part = random & 3 ? size - place : 1 + (random >> 8) % 60;
        if (part > size - place)
            part = size - place;
        ssize_t sent = send(peer->fd, peer->answer + place, part, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        place += (size_t)sent;
    }
    return true;
}

static size_t write_answer(struct peer *peer, struct peer_command command)
{
    uint32_t half = command.wanted / 2;
    struct vof_completion head = {0, command.id, 2, 0, command.wanted};
    struct vof_descriptor first = {0, half, PEER_FIRST_ID, VOF_DESC_WRITE};
    struct vof_descriptor second = {half, command.wanted - half, PEER_FIRST_ID + 1, VOF_DESC_WRITE};
    vof_put_completion(peer->answer, head);
    vof_put_descriptor(peer->answer + VOF_COMPLETION_SIZE, first);
    vof_put_descriptor(peer->answer + VOF_COMPLETION_SIZE + VOF_DESCRIPTOR_SIZE, second);
    uint8_t *data = peer->answer + VOF_COMPLETION_SIZE + 2 * VOF_DESCRIPTOR_SIZE;
    for (uint32_t i = 0; i < command.wanted; i++)
        data[i] = peer_byte(command.number, i);
    return (size_t)(data - peer->answer) + command.wanted;
}

static bool take_command(struct peer *peer)
{
    uint8_t head[PEER_HEAD_SIZE], extra[4096];
    if (!receive(peer, head, sizeof head))
        return false;
    struct peer_command command = {vof_get16(head + 2), vof_get32(head + 4), vof_get32(head + 8),
                                   vof_get32(head + 12)};
    /* Too early: before the command has been read, or even sent, to its end. */
    bool early = peer->faulty && command.extra > EARLY && peer_random(&peer->random) % 8 == 0;
    if (early && !send_in_pieces(peer, write_answer(peer, command)))
        return false;
    for (uint32_t left = command.extra; left;) {
        uint32_t part = left < sizeof extra ? left : (uint32_t)sizeof extra;
        if (!receive(peer, extra, part))
            return false;
        left -= part;
    }
    if (!early)
        peer->held[peer->count++] = command;
    return true;
}

/* Do something that no target may do; false where nothing more is to be said. */
static bool misbehave(struct peer *peer, size_t size)
{
    uint32_t random = peer_random(&peer->random);
    switch (random % 6) {
    case 0: /* an answer to what was not sent */
        vof_put16(peer->answer + 2, (uint16_t)(UNUSED_IDS + (random >> 16) % 64536));
        return send_in_pieces(peer, size);
    case 1: /* the same answer twice, and at once: its id must not be in use again meanwhile */
        if (2 * size > AT_ONCE)
            return send_in_pieces(peer, size);
        memcpy(peer->answer + size, peer->answer, size);
        return send(peer->fd, peer->answer, 2 * size, MSG_NOSIGNAL) > 0;
    case 2: /* a descriptor there is not */
        vof_put16(peer->answer + VOF_COMPLETION_SIZE + 12, (uint16_t)(random >> 16));
        return send_in_pieces(peer, size);
    case 3: /* more bytes than there is room for */
        vof_put32(peer->answer + VOF_COMPLETION_SIZE + 8, UINT32_MAX - (random >> 16));
        return send_in_pieces(peer, size);
    case 4: /* a part, then the end */
        send_in_pieces(peer, (random >> 8) % size);
        return false;
    default: /* silence, until the other side has had enough */
        while (take_command(peer))
            peer->count = 0;
        return false;
    }
}

static bool answer_one(struct peer *peer)
{
    unsigned place = peer_random(&peer->random) % peer->count;
    struct peer_command command = peer->held[place];
    peer->held[place] = peer->held[--peer->count];
    size_t size = write_answer(peer, command);
    if (peer->faulty && peer_random(&peer->random) % 64 == 0)
        return misbehave(peer, size);
    return send_in_pieces(peer, size);
}

static bool has_more(const struct peer *peer)
{
    char byte;
    return recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void *serve(void *argument)
{
    struct peer *peer = argument;
    bool going = true;
    while (going) {
        bool room = peer->count < MOST_HELD;
        /* Late answers: commands gather before the first of them is answered. */
        if (!peer->count || (room && has_more(peer) && peer_random(&peer->random) % 4))
            going = take_command(peer);
        else
            going = answer_one(peer);
    }
    close(peer->fd);
    free(peer);
    atomic_fetch_sub(&peers, 1);
    return NULL;
}

void peer_start(int fd, uint64_t seed, bool faulty)
{
    struct peer *peer = calloc(1, sizeof *peer);
    pthread_t thread;
    if (!peer)
        abort();
    peer->fd = fd;
    peer->random = seed | 1;
    peer->faulty = faulty;
    atomic_fetch_add(&peers, 1);
    if (pthread_create(&thread, NULL, serve, peer))
        abort();
    pthread_detach(thread);
}

unsigned peer_count(void)
{
    return atomic_load(&peers);
}
