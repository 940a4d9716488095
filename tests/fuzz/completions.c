/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzzes the initiator's parser: a script of commands in flight, then what a target sends.
 *
 * The same bytes go in three times: all at once, one by one, and in pieces of which some are
 * received straight into the landing buffers, as the queue does. All three must come to the same
 * end, which must be the one of a model that knows the whole stream: the same landings in the same
 * order, the same bytes in every buffer, the same words for a violation. Every buffer and array is
 * an allocation of its own and exact size, so that the sanitizer sees one byte too many.
 *
 * Input: flags, pieces' seed, number of commands; for each command its id, first descriptor id and
 * number of buffers, and for each buffer its size; then the stream. seeds.py writes it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "initiator/completion_parser.h"
#include "../support/demand.h"

enum { LENGTHS = 1, REFUSAL_CARRIES_BUFFERS = 2, MAX_COMMANDS = 64, MAX_BYTES = 256 << 10 };

const char *vof_fuzz_verdict;

struct input {
    const uint8_t *at, *end;
};

static uint32_t take(struct input *input, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && input->at < input->end; i++)
        value |= (uint32_t)*input->at++ << 8 * i;
    return value;
}

/* One command of the script, and what became of it. */
struct entry {
    struct vof_landing landing;
    struct iovec *writable;
    bool expected, arrived;
};

struct run {
    unsigned count;
    struct entry entries[MAX_COMMANDS];
    unsigned order[MAX_COMMANDS], arrivals; /* entries, as they arrived */
    bool good;
    char error[sizeof((struct vof_completion_parser *)0)->error];
};

/* The first with this id that was not answered: a target may use an id again. */
static struct vof_landing *expect(void *context, uint16_t command_id)
{
    struct run *run = context;
    for (unsigned i = 0; i < run->count; i++) {
        struct entry *entry = &run->entries[i];
        if (entry->landing.command_id == command_id && !entry->expected) {
            entry->expected = true;
            return &entry->landing;
        }
    }
    return NULL;
}

static void arrived(void *context, struct vof_landing *landing)
{
    struct run *run = context;
    struct entry *entry = (struct entry *)(void *)landing;
    DEMAND(entry->expected && !entry->arrived);
    entry->arrived = true;
    DEMAND(landing->returned <= landing->count);
    DEMAND(landing->completion.status || landing->returned == landing->count);
    for (unsigned i = 0; i < landing->returned; i++)
        DEMAND(landing->lengths[i] <= landing->writable[i].iov_len);
    run->order[run->arrivals++] = (unsigned)(entry - run->entries);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size); /* of 0 bytes too: no byte of it may be touched */
    DEMAND(memory);
    return memory;
}

static void begin(struct run *run, struct input *input)
{
    memset(run, 0, sizeof *run);
    run->count = take(input, 1) % (MAX_COMMANDS + 1);
    size_t bytes = 0;
    for (unsigned i = 0; i < run->count; i++) {
        struct entry *entry = &run->entries[i];
        struct vof_landing *landing = &entry->landing;
        landing->command_id = (uint16_t)take(input, 2);
        landing->first_id = (uint16_t)take(input, 2);
        landing->count = (uint16_t)take(input, 1);
        entry->writable = allocate(landing->count * sizeof *entry->writable);
        landing->writable = entry->writable;
        landing->lengths = allocate(landing->count * sizeof *landing->lengths);
        landing->fill = allocate(landing->count * sizeof *landing->fill);
        for (unsigned j = 0; j < landing->count; j++) {
            size_t size = take(input, 3);
            if (bytes + size > MAX_BYTES)
                size = 0;
            bytes += size;
            entry->writable[j].iov_len = size;
            entry->writable[j].iov_base = allocate(size);
        }
    }
}

static void end(struct run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        struct entry *entry = &run->entries[i];
        for (unsigned j = 0; j < entry->landing.count; j++)
            free(entry->writable[j].iov_base);
        free(entry->writable);
        free(entry->landing.lengths);
        free(entry->landing.fill);
    }
}

/* Ways to feed. */

struct piece_sizes {
    uint32_t state;
};

static size_t next_size(struct piece_sizes *sizes)
{
    sizes->state = sizes->state * UINT32_C(1664525) + UINT32_C(1013904223); /* Numerical Recipes */
    uint32_t random = sizes->state >> 16;
    return random & 1 ? 1 + (random >> 8) % 40 : 1 + random % 5000;
}

/* Receive as the queue does: first into the buffers that are wanted, the rest anywhere. */
static size_t receive(struct vof_completion_parser *parser, const uint8_t *data, size_t size,
                      bool *good)
{
    const struct iovec *buffers = NULL;
    size_t wanted, direct = 0;
    unsigned count = vof_parser_wanted(parser, &buffers, &wanted);
    size_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += buffers[i].iov_len;
    DEMAND(sum == wanted);
    for (unsigned i = 0; i < count && direct < size; i++) {
        size_t part = buffers[i].iov_len < size - direct ? buffers[i].iov_len : size - direct;
        memcpy(buffers[i].iov_base, data + direct, part);
        direct += part;
    }
    vof_parser_advance(parser, direct);
    *good = vof_parser_feed(parser, data + direct, size - direct);
    return size;
}

static void feed(struct vof_completion_parser *parser, struct input stream, uint32_t way,
                 struct run *run)
{
    struct piece_sizes sizes = {way};
    run->good = true;
    while (stream.at < stream.end && run->good) {
        size_t left = (size_t)(stream.end - stream.at);
        size_t size = way == 0 ? left : way == 1 ? 1 : next_size(&sizes);
        if (size > left)
            size = left;
        if (way < 2)
            run->good = vof_parser_feed(parser, stream.at, size);
        else
            receive(parser, stream.at, size, &run->good);
        stream.at += size;
    }
    if (!run->good)
        memcpy(run->error, parser->error, sizeof run->error);
    DEMAND(run->good || run->error[0]);
}

static void go(struct run *run, struct input input, uint8_t flags, uint32_t way)
{
    begin(run, &input);
    struct vof_completion_events events = {expect, arrived, run};
    struct vof_completion_parser parser;
    vof_parser_init(&parser, flags & LENGTHS ? VOF_FRAMING_LENGTHS : VOF_FRAMING_CHAINS, events);
    parser.refusal_carries_buffers = flags & REFUSAL_CARRIES_BUFFERS;
    feed(&parser, input, way, run);
}

static void compare(const struct run *one, const struct run *other)
{
    DEMAND(one->good == other->good);
    DEMAND(!strcmp(one->error, other->error));
    DEMAND(one->arrivals == other->arrivals);
    DEMAND(!memcmp(one->order, other->order, one->arrivals * sizeof *one->order));
    for (unsigned i = 0; i < one->count; i++) {
        const struct entry *a = &one->entries[i], *b = &other->entries[i];
        DEMAND(a->expected == b->expected && a->arrived == b->arrived);
        DEMAND(a->landing.returned == b->landing.returned);
        DEMAND(a->landing.completion.status == b->landing.completion.status);
        DEMAND(a->landing.completion.ndesc == b->landing.completion.ndesc);
        DEMAND(a->landing.completion.value == b->landing.completion.value);
        for (unsigned j = 0; j < a->landing.count; j++) {
            DEMAND(a->landing.lengths[j] == b->landing.lengths[j]);
            size_t size = a->writable[j].iov_len;
            DEMAND(!size || !memcmp(a->writable[j].iov_base, b->writable[j].iov_base, size));
        }
    }
}

/* The model: reads the stream by offsets, and compares every landing that arrived with it. It says
 * nothing of why a violation is one, but where the stream is good until then. */

static const uint8_t *model_segments(const struct entry *entry, const uint8_t *p,
                                     const uint8_t *limit, bool carried)
{
    const struct vof_landing *landing = &entry->landing;
    unsigned count = carried ? landing->count : landing->completion.ndesc;
    DEMAND((size_t)(limit - p) >= (size_t)count * VOF_DESCRIPTOR_SIZE);
    const uint8_t *data = p + (size_t)count * VOF_DESCRIPTOR_SIZE;
    bool seen[UINT8_MAX] = {false}; /* as many buffers as the script can say */
    for (unsigned i = 0; i < count; i++, p += VOF_DESCRIPTOR_SIZE) {
        struct vof_descriptor d = vof_get_descriptor(p);
        DEMAND(d.id >= landing->first_id && d.id - landing->first_id < landing->count);
        unsigned index = (unsigned)d.id - landing->first_id;
        DEMAND(!seen[index]);
        seen[index] = true;
        DEMAND(landing->lengths[index] == d.length);
        DEMAND((size_t)(limit - data) >= d.length);
        DEMAND(!d.length || !memcmp(landing->writable[index].iov_base, data, d.length));
        data += d.length;
    }
    return data;
}

static const uint8_t *model_lengths(const struct entry *entry, const uint8_t *p,
                                    const uint8_t *limit, const uint8_t *head)
{
    const struct vof_landing *landing = &entry->landing;
    uint32_t length = vof_get_vq_length(head), in_length = vof_get_vq_in_length(head);
    uint32_t left = length;
    uint64_t written = 0, room = 0;
    DEMAND((size_t)(limit - p) >= left);
    for (unsigned i = 0; i < landing->count; i++) {
        size_t size = landing->writable[i].iov_len;
        size_t part = left < size ? left : size;
        DEMAND(!part || !memcmp(landing->writable[i].iov_base, p, part));
        DEMAND(landing->lengths[i] <= part);
        written += landing->lengths[i];
        room += size;
        p += part;
        left -= (uint32_t)part;
    }
    DEMAND(!left);
    bool gap = length == room && landing->tail && in_length >= landing->tail && in_length < room;
    uint32_t used = gap ? in_length : length;
    DEMAND(landing->completion.value == used);
    /* Not less than was said to be, and not more but for the buffers that share the tail. */
    DEMAND(written >= used);
    DEMAND(gap || written == used);
    return p;
}

static void check_against_model(const struct run *run, struct input stream, uint8_t flags)
{
    const uint8_t *p = stream.at;
    for (unsigned i = 0; i < run->arrivals; i++) {
        const struct entry *entry = &run->entries[run->order[i]];
        DEMAND(stream.end - p >= VOF_COMPLETION_SIZE);
        const uint8_t *head = p;
        uint16_t status = vof_get16(head);
        DEMAND(vof_get16(head + 2) == entry->landing.command_id);
        DEMAND(status == entry->landing.completion.status);
        p += VOF_COMPLETION_SIZE;
        if (flags & LENGTHS)
            p = entry->landing.count ? model_lengths(entry, p, stream.end, head) : p;
        else
            p = model_segments(entry, p, stream.end,
                               flags & REFUSAL_CARRIES_BUFFERS && status && !vof_get16(head + 4));
    }
    unsigned left = 0; /* at most the one that had begun */
    for (unsigned i = 0; i < run->count; i++)
        left += run->entries[i].expected && !run->entries[i].arrived;
    DEMAND(left <= 1);
    if (run->good && !left)
        DEMAND(stream.end - p < VOF_COMPLETION_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    uint8_t flags = (uint8_t)take(&input, 1);
    uint32_t seed = take(&input, 2);
    static struct run runs[3];
    go(&runs[0], input, flags, 0);
    go(&runs[1], input, flags, 1);
    go(&runs[2], input, flags, 2 + seed);
    compare(&runs[0], &runs[1]);
    compare(&runs[0], &runs[2]);
    struct run script;
    begin(&script, &input); /* leaves the stream */
    end(&script);
    check_against_model(&runs[0], input, flags);
    vof_fuzz_verdict = runs[0].good ? "good" : "violation";
    for (unsigned i = 0; i < 3; i++)
        end(&runs[i]);
    return 0;
}
