/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The far end of the stress test's connections: answers in any order, in pieces, late, too early,
 * wrongly, in part, or not at all. Shares nothing with the initiator but the layouts.
 */
#ifndef VOF_STRESS_PEER_H
#define VOF_STRESS_PEER_H

#include <stdbool.h>
#include <stdint.h>

/* A command of the stress test is 16 bytes, and `extra` more: its opcode and id, then these. */
struct peer_command {
    uint16_t id;
    uint32_t extra;
    uint32_t wanted; /* bytes for its two device-writable buffers together */
    uint32_t number;
};

enum { PEER_HEAD_SIZE = 16, PEER_FIRST_ID = 1, PEER_MOST_WANTED = 200000 };

void peer_put_command(uint8_t *p, struct peer_command command);

/* Byte `place` of what answers a command. */
static inline uint8_t peer_byte(uint32_t number, uint32_t place)
{
    return (uint8_t)(number * 7 + place + (place >> 8));
}

uint32_t peer_random(uint64_t *state);

/* Serve the connected socket, which belongs to the peer, in a thread of its own until it ends.
 * `faulty`: sooner or later do something that is wrong. */
void peer_start(int fd, uint64_t seed, bool faulty);

/* How many serve at this moment. */
unsigned peer_count(void);

#endif
