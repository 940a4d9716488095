/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzzes the target: what an initiator sends, through the intake, the parser and the request
 * checker, executed on a disk in memory.
 *
 * The same bytes go in three times: in pieces as large as there is room for, one by one, and in
 * pieces of any size. All three must come to the same end: the same commands with the same payload
 * and answers, the same disk, the same violation. Disk, payloads and answers are allocations of
 * their own and exact size, so that the sanitizer sees one byte too many.
 *
 * Input: flags, pieces' seed, rules, size of the disk in 16 KiB; then the stream. seeds.py writes it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "target/stream/intake.h"
#include "target/block/task.h"
#include "../support/demand.h"

enum {
    LENGTHS = 1,
    UNCHAINED = 8,
    READONLY = 2,
    FEW_DESCRIPTORS = 4,
    HEADER = 5,
    DISK_UNIT = 16 << 10,
    MAX_TRANSFER = 256 << 10,
};

const char *vof_fuzz_verdict;

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    DEMAND(memory);
    return memory;
}

/* What came of one way to feed: a digest of every command and its answer, in their order. */
struct run {
    uint64_t digest;
    unsigned commands;
    enum vof_intake_result ended;
    bool refused; /* by the request checker: no device could complete it */
    struct vof_fault fault;
    uint8_t *disk;
    size_t disk_size;
};

static void digest(struct run *run, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) /* FNV-1a */
        run->digest = (run->digest ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static struct vof_stream_rules rules_of(uint8_t flags)
{
    struct vof_stream_rules rules = {
        .framing = flags & LENGTHS     ? VOF_FRAMING_LENGTHS
                   : flags & UNCHAINED ? VOF_FRAMING_SEGMENTS
                                       : VOF_FRAMING_CHAINS,
        .max_ndesc = flags & FEW_DESCRIPTORS ? 4 : VOF_MAX_NDESC,
        .max_transfer = MAX_TRANSFER,
    };
    static const uint16_t plain[] = {0x0001, 0x0002, 0x1000, 0x1001, 0x1002, 0x1003, 0x1004,
                                     0x1005, 0x1006, 0x1007, 0x1008, 0x100a, 0x0003};
    rules.plain_count = sizeof plain / sizeof *plain;
    memcpy(rules.plain, plain, sizeof plain);
    DEMAND(vof_stream_rules_good(&rules));
    return rules;
}

static void check_segments(const struct vof_command *command, const struct vof_segment *segments)
{
    uint64_t writable = 0;
    for (unsigned i = 0; i < command->ndesc; i++) {
        DEMAND(segments[i].length);
        DEMAND(segments[i].flags & VOF_DESC_WRITE);
        writable += segments[i].length;
        for (unsigned j = 0; j < i && i < 16; j++)
            DEMAND(segments[i].id != segments[j].id);
    }
    DEMAND(writable == command->writable || !command->ndesc);
    DEMAND((uint64_t)command->readable + command->writable <= MAX_TRANSFER);
}

/* Execute a request; false where no device could complete it. */
static bool execute(struct run *run, const struct vof_intake *intake, struct vof_device *device,
                    uint32_t negotiated)
{
    const struct vof_command *command = &intake->command;
    uint8_t *payload = allocate(command->readable);
    memcpy(payload, intake->payload, command->readable);
    struct voft_request request;
    memset(&request, 0, sizeof request);
    bool good = voft_check_request(&device->limits, device->capacity, negotiated, payload,
                                   command->readable, command->writable, &request, &run->fault);
    if (good && request.action != VOF_ELSEWHERE) {
        uint8_t *area = allocate(command->writable);
        DEMAND(!vof_execute(device, &request, area, command->writable));
        DEMAND(area[command->writable - 1] <= VOF_BLK_S_UNSUPP);
        if (request.action == VOF_READ)
            DEMAND(!memcmp(area, run->disk + request.offset, request.length));
        if (request.action == VOF_WRITE)
            DEMAND(!memcmp(payload + VOF_BLK_HEADER_SIZE, run->disk + request.offset,
                           request.length));
        digest(run, area, command->writable);
        free(area);
    }
    digest(run, &request.action, sizeof request.action);
    free(payload);
    return good;
}

static bool take(struct run *run, const struct vof_intake *intake, struct vof_device *device,
                 uint32_t negotiated)
{
    const struct vof_command *command = &intake->command;
    enum vof_framing framing = intake->rules->framing;
    run->commands++;
    digest(run, command->head, sizeof command->head);
    digest(run, &command->readable, sizeof command->readable);
    digest(run, &command->writable, sizeof command->writable);
    digest(run, intake->payload, command->readable);
    check_segments(command, intake->segments);
    size_t size = vof_completion_head_size(framing, command);
    uint8_t *head = allocate(size);
    vof_put_completion_head(head, framing, command, intake->segments);
    digest(run, head, size);
    free(head);
    if (command->opcode == vof_request_opcode(framing))
        return execute(run, intake, device, negotiated);
    return true;
}

/* The size of the next piece, of at most `room` bytes. */
static size_t next_size(uint32_t *way, size_t room)
{
    if (*way < 2)
        return *way == 0 ? room : 1;
    *way = *way * UINT32_C(1664525) + UINT32_C(1013904223); /* Numerical Recipes */
    uint32_t random = *way >> 16;
    *way |= 2; /* never one of the other two ways */
    size_t size = random & 1 ? 1 + (random >> 8) % 40 : 1 + random % 5000;
    return size < room ? size : room;
}

static size_t receive(struct vof_intake *intake, const uint8_t *data, size_t left, uint32_t *way)
{
    struct iovec pieces[2];
    int count = vof_intake_space(intake, pieces);
    size_t room = 0, done = 0;
    DEMAND(count == 1 || count == 2);
    for (int i = 0; i < count; i++) {
        DEMAND(pieces[i].iov_len);
        room += pieces[i].iov_len;
    }
    size_t size = next_size(way, room < left ? room : left);
    for (int i = 0; i < count && done < size; i++) {
        size_t part = pieces[i].iov_len < size - done ? pieces[i].iov_len : size - done;
        memcpy(pieces[i].iov_base, data + done, part);
        done += part;
    }
    vof_intake_advance(intake, size);
    return size;
}

static void go(struct run *run, const uint8_t *data, size_t size, uint32_t way)
{
    uint8_t flags = data[0];
    struct vof_stream_rules rules = rules_of(flags);
    struct vof_device device;
    memset(run, 0, sizeof *run);
    memset(&device, 0, sizeof device);
    run->disk_size = (size_t)data[4] * DISK_UNIT;
    run->disk = allocate(run->disk_size);
    vof_store_open_memory(&device.store, run->disk);
    atomic_init(&device.capacity, run->disk_size);
    device.limits = (struct vof_block_limits){64, 1024, 8, flags & READONLY};
    struct vof_stash stash = {.largest = 128 << 10, .keep = 2};
    struct vof_intake *intake = allocate(sizeof *intake);
    uint8_t *received = allocate(VOF_RECEIVE_SIZE);
    vof_intake_begin(intake, &rules, &stash, received);

    size_t place = HEADER;
    do {
        run->ended = vof_intake_next(intake, &run->fault);
        if (run->ended == VOF_INTAKE_COMMAND)
            run->refused = !take(run, intake, &device, data[3]);
        else if (run->ended == VOF_INTAKE_MORE && place < size)
            place += receive(intake, data + place, size - place, &way);
        else
            break;
    } while (!run->refused);
    DEMAND(run->ended != VOF_INTAKE_NO_MEMORY);
    vof_intake_end(intake);
    vof_stash_empty(&stash);
    free(received);
    free(intake);
}

static void compare(const struct vof_stream_rules *rules, const struct run *one,
                    const struct run *other)
{
    DEMAND(one->digest == other->digest);
    DEMAND(one->commands == other->commands);
    DEMAND(one->ended == other->ended);
    DEMAND(one->refused == other->refused);
    DEMAND(!one->disk_size || !memcmp(one->disk, other->disk, one->disk_size));
    if (one->refused || one->ended == VOF_INTAKE_VIOLATION) {
        char text[2][VOF_FAULT_TEXT_SIZE];
        vof_describe_fault(rules, &one->fault, text[0]);
        vof_describe_fault(rules, &other->fault, text[1]);
        DEMAND(text[0][0] && !strcmp(text[0], text[1]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run runs[3];
    if (size < HEADER)
        return 0;
    for (uint32_t i = 0; i < 3; i++)
        go(&runs[i], data, size, i < 2 ? i : 2 + (data[1] | (uint32_t)data[2] << 8));
    struct vof_stream_rules rules = rules_of(data[0]);
    compare(&rules, &runs[0], &runs[1]);
    compare(&rules, &runs[0], &runs[2]);
    vof_fuzz_verdict =
        runs[0].refused || runs[0].ended == VOF_INTAKE_VIOLATION ? "violation" : "good";
    for (unsigned i = 0; i < 3; i++)
        free(runs[i].disk);
    return 0;
}
