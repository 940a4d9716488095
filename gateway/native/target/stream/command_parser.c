// SPDX-License-Identifier: BSD-3-Clause
#include "target/stream/command_parser.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static enum vof_parse refuse(struct vof_fault *fault, enum vof_violation violation, uint64_t found,
                             uint64_t allowed)
{
    fault->violation = violation;
    fault->found = found;
    fault->allowed = allowed;
    return VOF_PARSE_VIOLATION;
}

int vof_stream_rules_good(const struct vof_stream_rules *rules)
{
    return memchr(rules->dialect, 0, sizeof rules->dialect) && rules->max_ndesc > 0 && rules->max_ndesc <= VOF_MAX_NDESC &&
           rules->plain_count <= VOF_MAX_PLAIN_OPCODES &&
           rules->max_transfer > 0 && rules->max_transfer <= INT32_MAX;
}

static bool is_plain(const struct vof_stream_rules *rules, uint16_t opcode)
{
    for (uint32_t i = 0; i < rules->plain_count; i++)
        if (rules->plain[i] == opcode)
            return true;
    return false;
}

static bool seen_before(const uint8_t *descriptors, uint32_t count, uint16_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (vof_get_descriptor(descriptors + (size_t)i * VOF_DESCRIPTOR_SIZE).id == id)
            return true;
    return false;
}

static enum vof_parse take_vring(const struct vof_stream_rules *rules, const uint8_t *descriptors,
                                 uint32_t ndesc, struct vof_command *command,
                                 struct vof_segment *segments, struct vof_fault *fault)
{
    uint64_t total = 0, writable = 0;
    uint64_t seen = 0; /* a bit for each id modulo 64: where it is new, so is the id */
    bool empty = false, twice = false, keyed = false;
    uint16_t count = 0;

    for (uint32_t i = 0; i < ndesc; i++) {
        struct vof_descriptor d =
            vof_get_descriptor(descriptors + (size_t)i * VOF_DESCRIPTOR_SIZE);
        uint64_t bit = UINT64_C(1) << (d.id & 63);
        total += d.length;
        empty |= d.length == 0;
        keyed |= rules->framing == VOF_FRAMING_SEGMENTS && d.flags & VOF_DESC_KEYED;
        if (seen & bit && !twice)
            twice = seen_before(descriptors, i, d.id);
        seen |= bit;
        if (d.flags & VOF_DESC_WRITE) {
            struct vof_segment segment = {d.length, d.id, d.flags};
            segments[count++] = segment;
            writable += d.length;
        }
    }
    if (total > rules->max_transfer)
        return refuse(fault, VOF_TRANSFER_TOO_LARGE, total, rules->max_transfer);
    if (empty)
        return refuse(fault, VOF_DESCRIPTOR_EMPTY, 0, 0);
    if (twice)
        return refuse(fault, VOF_DESCRIPTOR_ID_TWICE, 0, 0);
    if (keyed)
        return refuse(fault, VOF_KEYED_ON_STREAM, 0, 0);
    command->ndesc = count;
    command->writable = (uint32_t)writable;
    command->readable = (uint32_t)(total - writable);
    return VOF_PARSE_COMMAND;
}

static enum vof_parse take_vq(const struct vof_stream_rules *rules, const uint8_t *head,
                              struct vof_command *command, struct vof_fault *fault)
{
    struct vof_vq_lengths lengths = vof_get_vq_lengths(head);
    uint64_t total = (uint64_t)lengths.out + lengths.in;
    if (total > rules->max_transfer)
        return refuse(fault, VOF_LENGTHS_TOO_LARGE, total, rules->max_transfer);
    command->readable = lengths.out;
    command->writable = lengths.in;
    return VOF_PARSE_COMMAND;
}

enum vof_parse vof_parse_head(const struct vof_stream_rules *rules, const uint8_t *data,
                              size_t size, struct vof_command *command,
                              struct vof_segment *segments, struct vof_fault *fault)
{
    bool lengths = rules->framing == VOF_FRAMING_LENGTHS;
    uint16_t opcode, ndesc = 0;
    bool request;

    if (size < VOF_COMMAND_SIZE)
        return VOF_PARSE_MORE;
    opcode = vof_get_opcode(data);
    request = opcode == vof_request_opcode(rules->framing);
    if (opcode == VOF_OP_CONNECT)
        return refuse(fault, VOF_CONNECT_AGAIN, 0, 0);
    /* Where requests have lengths there is a status for a command that nobody knows. */
    if (!request && !lengths && !is_plain(rules, opcode))
        return refuse(fault, VOF_OPCODE_UNKNOWN, opcode, 0);
    if (request && !lengths) {
        ndesc = vof_get_ndesc(data);
        if (!ndesc || ndesc > rules->max_ndesc)
            return refuse(fault, VOF_NDESC_OUT_OF_RANGE, ndesc, rules->max_ndesc);
    }
    if ((size - VOF_COMMAND_SIZE) / VOF_DESCRIPTOR_SIZE < ndesc)
        return VOF_PARSE_MORE;

    command->opcode = opcode;
    command->command_id = vof_get_command_id(data);
    command->head_size = VOF_COMMAND_SIZE + (size_t)ndesc * VOF_DESCRIPTOR_SIZE;
    command->ndesc = 0;
    command->readable = 0;
    command->writable = 0;
    memcpy(command->head, data, VOF_COMMAND_SIZE);
    if (!request)
        return VOF_PARSE_COMMAND;
    if (lengths)
        return take_vq(rules, data, command, fault);
    return take_vring(rules, data + VOF_COMMAND_SIZE, ndesc, command, segments, fault);
}

size_t vof_completion_head_size(enum vof_framing framing, const struct vof_command *command)
{
    if (framing == VOF_FRAMING_LENGTHS)
        return VOF_COMPLETION_SIZE;
    return VOF_COMPLETION_SIZE + (size_t)command->ndesc * VOF_DESCRIPTOR_SIZE;
}

void vof_put_completion_head(uint8_t *p, enum vof_framing framing,
                             const struct vof_command *command,
                             const struct vof_segment *segments)
{
    struct vof_completion completion = {
        .command_id = command->command_id, .ndesc = command->ndesc, .value = command->writable};
    uint64_t place = 0;

    if (framing == VOF_FRAMING_LENGTHS) {
        vof_put_vq_completion(p, 0, command->command_id, command->writable, command->writable);
        return;
    }
    vof_put_completion(p, completion);
    p += VOF_COMPLETION_SIZE;
    for (uint16_t i = 0; i < command->ndesc; i++) {
        struct vof_descriptor d = {place, segments[i].length, segments[i].id, segments[i].flags};
        vof_put_descriptor(p, d);
        p += VOF_DESCRIPTOR_SIZE;
        place += d.length;
    }
}

void vof_describe_fault(const struct vof_stream_rules *rules, const struct vof_fault *fault,
                        char text[VOF_FAULT_TEXT_SIZE])
{
    const char *format = "";

    switch (fault->violation) {
    case VOF_OPCODE_UNKNOWN:
        snprintf(text, VOF_FAULT_TEXT_SIZE, "opcode 0x%04" PRIx64 " is not one of dialect %s",
                 fault->found, rules->dialect);
        return;
    case VOF_NDESC_OUT_OF_RANGE:
        snprintf(text, VOF_FAULT_TEXT_SIZE,
                 "a vring command has %" PRIu64 " descriptors; 1 to %" PRIu64 " are allowed",
                 fault->found, fault->allowed);
        return;
    case VOF_TRANSFER_TOO_LARGE:
    case VOF_LENGTHS_TOO_LARGE:
        snprintf(text, VOF_FAULT_TEXT_SIZE,
                 "the %s of a command add up to %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                 fault->violation == VOF_TRANSFER_TOO_LARGE ? "descriptors" : "lengths",
                 fault->found, fault->allowed);
        return;
    case VOF_COMMAND_ID_IN_FLIGHT:
        snprintf(text, VOF_FAULT_TEXT_SIZE,
                 "command id %" PRIu64 " is used again while it is in flight", fault->found);
        return;
    case VOF_BLOCK_HEADER_SHORT:
        snprintf(text, VOF_FAULT_TEXT_SIZE,
                 "a block request has %" PRIu64
                 " device-readable bytes, too few for its header",
                 fault->found);
        return;
    case VOF_CONNECT_AGAIN:
        format = "a second Connect on one connection";
        break;
    case VOF_KEYED_ON_STREAM:
        format = "a keyed descriptor on a stream";
        break;
    case VOF_DESCRIPTOR_EMPTY:
        format = "a descriptor has length zero";
        break;
    case VOF_DESCRIPTOR_ID_TWICE:
        format = "a descriptor id is used twice in one command";
        break;
    case VOF_BLOCK_STATUS_MISSING:
        format = "a block request has no room for its status byte";
        break;
    }
    snprintf(text, VOF_FAULT_TEXT_SIZE, "%s", format);
}
