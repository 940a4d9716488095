/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One virtqueue's connection to a block device, served without Python: the twin of the loop in
 * vof.target.connection.
 *
 * Owns the receive buffer, the command ids in flight, the requests in progress and the order of
 * what is sent. One thread serves a queue: it receives as much as there is, executes what cannot
 * take long, hands the rest to the device's threads, and sends the completions of all that came
 * together in one go. So no request waits for another one's disk, and no thread of the device ever
 * waits for a peer. What it does not know it returns to Python: control commands, rare requests,
 * every kind of end. Must not know who negotiated what, or what a control command means.
 */
#ifndef VOF_TARGET_STREAM_QUEUE_H
#define VOF_TARGET_STREAM_QUEUE_H

#include <stdatomic.h>

#include "counts.h"
#include "target/block/device.h"
#include "target/stream/command_parser.h"

struct vof_served_queue;

struct vof_served_queue_setup {
    struct vof_device *device;
    const _Atomic uint32_t *rules; /* bits of enum vof_rule */
    struct vof_stream_rules stream;
    int fd;              /* the connected socket, blocking, with SO_SNDTIMEO */
    uint32_t width;      /* requests in progress at a time; with 1 they are executed in order */
    uint32_t depth;      /* commands in flight at a time, more are refused; 0 for any number */
    size_t largest_kept; /* bytes of a buffer that is kept for the next request */
};

enum vof_event {
    VOF_EVENT_END,        /* the stream, the time that was left, or the association */
    VOF_EVENT_CONTROL,    /* a command of 16 bytes: answer by vof_served_queue_send */
    VOF_EVENT_REQUEST,    /* a request that is not executed here: vof_served_queue_answer */
    VOF_EVENT_DISK_ERROR, /* a request was answered with IOERR: say so */
    VOF_EVENT_VIOLATION,
    VOF_EVENT_ERROR, /* an errno; EAGAIN where the peer took nothing in time */
};

struct vof_report {
    struct vof_fault fault;            /* of VOF_EVENT_VIOLATION */
    const struct vof_command *command; /* of VOF_EVENT_CONTROL and VOF_EVENT_REQUEST */
    const uint8_t *payload;
    uint32_t count; /* of VOF_EVENT_DISK_ERROR: so many, and the first of them */
    uint32_t type;
    uint64_t sector;
    int error; /* of VOF_EVENT_DISK_ERROR and VOF_EVENT_ERROR */
};

/* Everything in `setup` stays the caller's and outlives the queue. NULL where there is no memory
 * or the setup is not good. */
struct vof_served_queue *vof_served_queue_open(const struct vof_served_queue_setup *setup);

/* Serve until there is something to report. What the report points to is good until the next call.
 * After VOF_EVENT_END, VOF_EVENT_VIOLATION and VOF_EVENT_ERROR there is no next one. */
enum vof_event vof_served_queue_serve(struct vof_served_queue *queue, struct vof_report *report);

/* Answer VOF_EVENT_REQUEST with its device-writable area. Returns 0 or an errno. */
int vof_served_queue_answer(struct vof_served_queue *queue, const uint8_t *area);

/* Send behind what is to be sent already, and before what comes later. Returns 0 or an errno. */
int vof_served_queue_send(struct vof_served_queue *queue, const uint8_t *data, size_t size);

/* Wait for what is in progress, and answer it. Returns 0 or an errno. */
int vof_served_queue_drain(struct vof_served_queue *queue);

/* Send everything at once. Returns 0 or an errno. */
int vof_served_queue_flush(struct vof_served_queue *queue);

/* From any thread: end at the next opportunity; the caller shuts the socket down. */
void vof_served_queue_stop(struct vof_served_queue *queue);

/* From any thread: end after `seconds` even if the peer has sent more. */
void vof_served_queue_finish(struct vof_served_queue *queue, double seconds);

/* What was answered, by type: read, write, flush, discard, write zeroes, and any other. From any
 * thread; what is being received at the moment may be missing. */
enum { VOF_SERVED_KINDS = 6 };
void vof_served_queue_counts(const struct vof_served_queue *queue,
                             struct vof_count counts[VOF_SERVED_KINDS]);

/* Requests that other threads execute at the moment. From any thread. */
uint32_t vof_served_queue_busy(const struct vof_served_queue *queue);

/* Wait for what is in progress, which is not answered any more, and forget the queue. */
void vof_served_queue_close(struct vof_served_queue *queue);

#endif
