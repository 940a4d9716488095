/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of a queue share: queue.c receives, queue_execute.c executes, queue_answers.c
 * keeps the requests in progress and answers them, queue_counts.c counts them.
 *
 * Owns the state of one queue. For those four files only; see queue.h for the rest of the world.
 */
#ifndef VOF_TARGET_STREAM_QUEUE_STATE_H
#define VOF_TARGET_STREAM_QUEUE_STATE_H

#include "target/block/task.h"
#include "target/stream/intake.h"
#include "target/stream/outbox.h"
#include "target/stream/queue.h"

enum {
    VOF_IDS = 1 << 16,
    /* Commands that fit into the receive buffer, and those that were in progress before. */
    VOF_MOST_FINISHED = VOF_RECEIVE_SIZE / VOF_COMMAND_SIZE + VOF_MAX_WIDTH + 1,
    /* Bytes of an answer that is gathered with others. */
    VOF_GATHERED = VOF_OUTBOX_SIZE / 2 + VOF_OUTBOX_SIZE / 8,
};

/* Memory of a queue that is not idle. The system hands it out by the page, as it is used. */
struct vof_work_area {
    uint8_t received[VOF_RECEIVE_SIZE];
    uint8_t outgoing[VOF_OUTBOX_SIZE];
    uint8_t in_flight[VOF_IDS / 8]; /* a bit for each command id */
    uint16_t finished[VOF_MOST_FINISHED];
};

/* Requests of one kind that were answered at once, since the last look at the clock. */
struct vof_quick {
    uint32_t requests, failed;
    uint64_t data_bytes;
};

struct vof_served_queue {
    struct vof_served_queue_setup setup;
    struct vof_work_area *area;
    struct vof_stash stash;
    struct vof_intake intake;
    struct vof_outbox outbox;
    uint32_t in_flight; /* commands; those that were answered since the last receive among them */
    uint32_t finished;  /* ids of the latter, in `area` */
    struct vof_task *tasks; /* `width` of them, made when the first is needed */
    struct vof_task *free_tasks;
    uint32_t busy; /* tasks in other threads; changed by vof_busy alone, since others look */
    bool over;     /* the stream has ended */
    struct vof_returns returns;
    struct {
        uint32_t count;
        uint32_t type;
        uint64_t sector;
        int error;
    } failures; /* of the disk, not reported yet: how many, and the first of them */
    int64_t received_at; /* monotonic nanoseconds, of the last receive */
    struct vof_quick quick[VOF_SERVED_KINDS];
    bool any_quick;
    struct vof_count counts[VOF_SERVED_KINDS]; /* changed by the serving thread alone, others look */
    _Atomic bool stop;
    _Atomic int64_t deadline; /* monotonic nanoseconds, 0 for none */
};

/* Beside enum vof_event: nothing to report. */
enum { VOF_GO_ON = -1 };

static inline int vof_fail(struct vof_report *report, int error)
{
    report->error = error;
    return VOF_EVENT_ERROR;
}

static inline int vof_violate(struct vof_report *report, enum vof_violation violation,
                              uint64_t found)
{
    report->fault.violation = violation;
    report->fault.found = found;
    return VOF_EVENT_VIOLATION;
}

static inline bool vof_id_in_flight(const struct vof_served_queue *queue, uint16_t id)
{
    return queue->area->in_flight[id / 8] & 1 << id % 8;
}

static inline void vof_id_begin(struct vof_served_queue *queue, uint16_t id)
{
    queue->area->in_flight[id / 8] |= (uint8_t)(1 << id % 8);
    queue->in_flight++;
}

/* queue_answers.c; what returns int returns 0 or an errno, as in queue.h. */

/* The command is answered; its id stays in flight until the next vof_ids_end. */
void vof_id_finish(struct vof_served_queue *queue, uint16_t id);

/* What was answered is sent: the peer may use those ids again in what is received from now on. */
void vof_ids_end(struct vof_served_queue *queue);

/* Answer the last command, a request, with a status of v5 and nothing else. */
int vof_refuse(struct vof_served_queue *queue, uint16_t status);

/* Put the head of the last command's completion behind what is to be sent; its id is finished. */
int vof_add_head(struct vof_served_queue *queue);

/* Remember an error of the disk, if there is one, until it can be reported. */
void vof_note_failure(struct vof_served_queue *queue, const struct voft_request *request,
                      int error);

/* Have tasks; false where there is no memory for them. */
bool vof_tasks_make(struct vof_served_queue *queue);

/* Begin the last command as a task of its own; NULL where there is no memory. A task is free. */
struct vof_task *vof_task_begin(struct vof_served_queue *queue, const struct voft_request *request);

/* Let the task's payload outlast the command. False where there is no memory. */
bool vof_task_keep_payload(struct vof_served_queue *queue, struct vof_task *task);

/* Send the answer of a task that is done, or have it done again. */
int vof_task_complete(struct vof_served_queue *queue, struct vof_task *task);

/* The task is none any more. */
void vof_task_end(struct vof_served_queue *queue, struct vof_task *task);

/* Complete what the device's threads have done. */
int vof_collect(struct vof_served_queue *queue);

/* Wait until a task is done and complete it; with `or_socket`, or until the socket is readable. */
int vof_await(struct vof_served_queue *queue, bool or_socket);

static inline void vof_busy(struct vof_served_queue *queue, int by)
{
    __atomic_store_n(&queue->busy, queue->busy + (uint32_t)by, __ATOMIC_RELAXED);
}

/* queue_counts.c: what was executed at once is counted when its answer is sent, with one look at
 * the clock for all of them; a task by itself. */
void vof_count_quick(struct vof_served_queue *queue, const struct voft_request *request,
                     bool failed);
void vof_count_sent(struct vof_served_queue *queue);
void vof_count_task(struct vof_served_queue *queue, const struct vof_task *task);

/* queue_execute.c: execute the last command, a request. Returns an enum vof_event or VOF_GO_ON. */
int vof_served_queue_execute(struct vof_served_queue *queue, struct vof_report *report);

#endif
