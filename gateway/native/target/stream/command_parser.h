/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Heads of commands as a target receives them: the twin of the CommandParsers in vof.wire.stream
 * and vof.wire.vq.
 *
 * Owns what a command's head and descriptors must be, in both framings, and the words for what they
 * are not. Pure: bytes in, a record out; no memory of its own, no sockets, no device types. The
 * limits come from the caller, who has them from Python's tables. v2 command set, "Vring Command";
 * v5, "VQ Command".
 */
#ifndef VOF_TARGET_STREAM_COMMAND_PARSER_H
#define VOF_TARGET_STREAM_COMMAND_PARSER_H

#include <stddef.h>
#include <stdint.h>

#include "target/fault.h"
#include "wire.h"

enum {
    VOF_MAX_PLAIN_OPCODES = 32,
    VOF_MAX_NDESC = 1024, /* the most that max_ndesc may say */
    VOF_DIALECT_NAME_SIZE = 16,
    VOF_FAULT_TEXT_SIZE = 160,
};

/* What is taken from a peer before it is a violation. */
struct vof_stream_rules {
    char dialect[VOF_DIALECT_NAME_SIZE]; /* its name, for messages */
    enum vof_framing framing;
    uint32_t max_ndesc;
    uint64_t max_transfer; /* bytes, in both directions together; below 2^31 */
    uint32_t plain_count;
    uint16_t plain[VOF_MAX_PLAIN_OPCODES]; /* opcodes of commands of 16 bytes, known ones */
};

/* A device-writable descriptor: what has to come back of it. */
struct vof_segment {
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};

struct vof_command {
    uint16_t opcode;
    uint16_t command_id;
    uint16_t ndesc;    /* of `segments`; 0 in a framing without descriptors */
    uint32_t readable; /* bytes that follow the head */
    uint32_t writable;
    size_t head_size; /* bytes of command and descriptors */
    uint8_t head[VOF_COMMAND_SIZE];
};

enum vof_parse { VOF_PARSE_MORE, VOF_PARSE_COMMAND, VOF_PARSE_VIOLATION };

/* Whether the rules are such that this code keeps them. */
int vof_stream_rules_good(const struct vof_stream_rules *rules);

/* Read the head at `data`. With VOF_PARSE_COMMAND, `command` is set and `segments`, which has room
 * for max_ndesc, has its device-writable descriptors; with VOF_PARSE_VIOLATION, `fault`; with
 * VOF_PARSE_MORE nothing: call again with more bytes of the same head. */
enum vof_parse vof_parse_head(const struct vof_stream_rules *rules, const uint8_t *data,
                              size_t size, struct vof_command *command,
                              struct vof_segment *segments, struct vof_fault *fault);

/* Bytes that a command's completion has before the device-writable bytes. */
size_t vof_completion_head_size(enum vof_framing framing, const struct vof_command *command);

/* Write that head, for an answer that has all `writable` bytes. */
void vof_put_completion_head(uint8_t *p, enum vof_framing framing,
                             const struct vof_command *command,
                             const struct vof_segment *segments);

/* Say in words what a fault under these rules is: the same as vof.wire and vof.target do. */
void vof_describe_fault(const struct vof_stream_rules *rules, const struct vof_fault *fault,
                        char text[VOF_FAULT_TEXT_SIZE]);

#endif
