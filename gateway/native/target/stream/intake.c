// SPDX-License-Identifier: BSD-3-Clause
#include "target/stream/intake.h"

/* A payload up to this size waits in the receive buffer for its end, and leaves room to receive. */
enum { SMALL_PAYLOAD = VOF_RECEIVE_SIZE / 2 };

_Static_assert(VOF_COMMAND_SIZE + VOF_MAX_NDESC * VOF_DESCRIPTOR_SIZE < VOF_RECEIVE_SIZE,
               "every head leaves room to receive");

void vof_intake_begin(struct vof_intake *intake, const struct vof_stream_rules *rules,
                      struct vof_stash *stash, uint8_t *bytes)
{
    intake->rules = rules;
    intake->stash = stash;
    intake->bytes = bytes;
    intake->start = 0;
    intake->end = 0;
    intake->begun = false;
    intake->own.data = NULL;
    intake->own.size = 0;
    intake->filled = 0;
    intake->payload = bytes;
}

static enum vof_intake_result take_payload(struct vof_intake *intake)
{
    size_t wanted = intake->command.readable;
    size_t there = intake->end - intake->start;

    if (!intake->own.data && there < wanted && wanted > SMALL_PAYLOAD) {
        if (!vof_buffer_take(intake->stash, wanted, &intake->own))
            return VOF_INTAKE_NO_MEMORY;
        memcpy(intake->own.data, intake->bytes + intake->start, there);
        intake->start = intake->end;
        intake->filled = there;
    }
    if (intake->own.data) {
        if (intake->filled < wanted)
            return VOF_INTAKE_MORE;
        intake->payload = intake->own.data;
    } else {
        if (there < wanted)
            return VOF_INTAKE_MORE;
        intake->payload = intake->bytes + intake->start;
        intake->start += wanted;
    }
    intake->begun = false;
    return VOF_INTAKE_COMMAND;
}

enum vof_intake_result vof_intake_next(struct vof_intake *intake, struct vof_fault *fault)
{
    if (!intake->begun) {
        vof_buffer_give(intake->stash, &intake->own);
        switch (vof_parse_head(intake->rules, intake->bytes + intake->start,
                               intake->end - intake->start, &intake->command, intake->segments,
                               fault)) {
        case VOF_PARSE_MORE:
            return VOF_INTAKE_MORE;
        case VOF_PARSE_VIOLATION:
            return VOF_INTAKE_VIOLATION;
        case VOF_PARSE_COMMAND:
            break;
        }
        intake->start += intake->command.head_size;
        intake->begun = true;
    }
    return take_payload(intake);
}

int vof_intake_space(struct vof_intake *intake, struct iovec pieces[2])
{
    int count = 0;
    size_t there = intake->end - intake->start;

    if (intake->start) {
        memmove(intake->bytes, intake->bytes + intake->start, there);
        intake->start = 0;
        intake->end = there;
    }
    if (intake->begun && intake->own.data) {
        pieces[count].iov_base = intake->own.data + intake->filled;
        pieces[count++].iov_len = intake->command.readable - intake->filled;
    }
    pieces[count].iov_base = intake->bytes + intake->end;
    pieces[count++].iov_len = VOF_RECEIVE_SIZE - intake->end;
    return count;
}

void vof_intake_advance(struct vof_intake *intake, size_t count)
{
    if (intake->begun && intake->own.data) {
        size_t rest = intake->command.readable - intake->filled;
        size_t part = count < rest ? count : rest;
        intake->filled += part;
        count -= part;
    }
    intake->end += count;
}

struct vof_buffer vof_intake_keep_payload(struct vof_intake *intake)
{
    struct vof_buffer own = intake->own;
    intake->own.data = NULL;
    intake->own.size = 0;
    return own;
}

bool vof_intake_idle(const struct vof_intake *intake)
{
    return intake->start == intake->end && !intake->begun && !intake->own.data;
}

void vof_intake_end(struct vof_intake *intake)
{
    vof_buffer_give(intake->stash, &intake->own);
}
