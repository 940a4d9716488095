/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests that are started and call back, step by step, the far end in the test's hand. One case
 * a run: what must not hang ends by an alarm.
 *
 * usage: started tcp|slow CASE
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "initiator/block.h"
#include "initiator/driving.h"
#include "initiator/ending.h"
#include "initiator/lead.h"
#include "initiator/queue.h"
#include "initiator/room.h"
#include "initiator/round.h"
#include "initiator/statistics.h"
#include "initiator/tcp.h"
#include "slow_transport.h"
#include "../../support/demand.h"

enum {
    PATIENCE = 60,     /* seconds, under a sanitizer on a busy machine */
    SIZE = 16,         /* requests in flight */
    LARGE = 128 << 10, /* bytes, more than a connection holds */
};

static const int64_t MOMENT = 20000000; /* nanoseconds */

/* A request and its data, and what became of it. */
struct started {
    struct vof_block_request item;
    uint8_t data[LARGE];
    uint32_t length;
    enum vof_blk_type type;
    enum vof_result result;
    atomic_uint calls;
    unsigned again; /* how often it starts itself again when it is carried */
};

static struct vof_block block;
static struct vof_queue *queue;
static struct vof_driver driver;
static struct started all[SIZE];
static atomic_uint left; /* of those that are to end before the drive does */
static int far;
static struct vof_transport *(*make_transport)(int fd);
static bool keep;
static struct vofi_request *_Atomic kept;
static atomic_uint losses;

/* The near end. */

static void on_lost(struct vof_queue *which, void *context, struct vofi_request *in_flight)
{
    (void)context;
    if (keep) {
        atomic_store(&kept, in_flight);
    } else {
        while (in_flight) {
            struct vofi_request *request = in_flight;
            in_flight = request->next_out;
            vof_queue_end(which, request);
        }
    }
    atomic_fetch_add(&losses, 1);
}

static struct vof_transport *connect_far(void)
{
    int ends[2], size = 4 * SIZE << 10; /* what is small is sent without waiting for who receives */
    DEMAND(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    for (int i = 0; i < 2; i++)
        DEMAND(!setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    far = ends[1];
    return make_transport(ends[0]);
}

static void on_done(void *owner, enum vof_result result, const struct vof_failed *failed);

static enum vof_result start(struct started *one, enum vof_blk_type type, uint32_t length)
{
    struct vof_block_operation operation = {type, length, 0, one->data, false};
    one->type = type;
    one->length = length;
    return vof_block_start(&block, 0, &one->item, &operation, on_done, one);
}

static void begin(unsigned count, enum vof_blk_type type, uint32_t length)
{
    atomic_store(&left, count);
    for (unsigned i = 0; i < count; i++)
        DEMAND(start(&all[i], type, length) == VOF_STARTED);
}

static void on_done(void *owner, enum vof_result result, const struct vof_failed *failed)
{
    struct started *one = owner;
    DEMAND(!strcmp(failed->what, one->type == VOF_BLK_IN ? "VIRTIO_BLK_T_IN" : "VIRTIO_BLK_T_OUT"));
    one->result = result;
    atomic_fetch_add(&one->calls, 1);
    if (result == VOF_CARRIED && one->again) {
        one->again--;
        DEMAND(start(one, one->type, one->length) == VOF_STARTED);
    } else if (atomic_fetch_sub(&left, 1) == 1) {
        vof_queue_stop(queue, &driver);
    }
}

static void drive(void)
{
    DEMAND(vof_queue_drive(queue, &driver, 0));
    DEMAND(!atomic_load(&left));
}

static void *drive_in_thread(void *argument)
{
    (void)argument;
    DEMAND(vof_queue_drive(queue, &driver, 0));
    return NULL;
}

static void demand_all(unsigned count, enum vof_result result, unsigned calls)
{
    for (unsigned i = 0; i < count; i++) {
        DEMAND(atomic_load(&all[i].calls) == calls);
        DEMAND(all[i].result == result);
    }
    /* What they took is free again. */
    DEMAND(vof_queue_take_id(queue, SIZE, false) == 0);
    vof_queue_give_back_id(queue, 0, SIZE);
    vof_gate_enter_alone(&block.gate);
    vof_gate_leave_alone(&block.gate);
}

static void await_activity(bool (*reached)(const struct vof_activity *activity))
{
    struct timespec moment = {0, 1000000};
    struct vof_activity activity;
    while (vof_queue_activity(queue, &activity), !reached(&activity))
        nanosleep(&moment, NULL);
}

static bool leads(const struct vof_activity *activity)
{
    return activity->leading;
}

static bool follows(const struct vof_activity *activity)
{
    return activity->followers == 1;
}

static bool sleeps(const struct vof_activity *activity)
{
    return !activity->leading && activity->followers == 1;
}

/* The far end. */

struct command {
    uint16_t id;
    struct vof_vq_lengths lengths;
};

static void receive(void *data, size_t size)
{
    for (uint8_t *at = data; size;) {
        ssize_t count = recv(far, at, size, 0);
        DEMAND(count > 0);
        at += count;
        size -= (size_t)count;
    }
}

static struct command take_command(void)
{
    uint8_t head[VOF_COMMAND_SIZE], rest[VOF_BLK_HEADER_SIZE + LARGE];
    receive(head, sizeof head);
    struct command command = {vof_get_command_id(head), vof_get_vq_lengths(head)};
    DEMAND(command.lengths.out <= sizeof rest);
    receive(rest, command.lengths.out);
    return command;
}

static void send_all(const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t count = send(far, data, size, MSG_NOSIGNAL);
        DEMAND(count > 0);
        data += count;
        size -= (size_t)count;
    }
}

static uint8_t byte_at(uint16_t id, uint32_t place)
{
    return (uint8_t)(id * 31 + place + (place >> 8));
}

static void answer(struct command command)
{
    static uint8_t bytes[VOF_COMPLETION_SIZE + LARGE + 1];
    uint32_t size = command.lengths.in;
    vof_put_vq_completion(bytes, 0, command.id, size, size);
    for (uint32_t i = 0; i < size - 1; i++)
        bytes[VOF_COMPLETION_SIZE + i] = byte_at(command.id, i);
    bytes[VOF_COMPLETION_SIZE + size - 1] = VOF_BLK_S_OK;
    send_all(bytes, VOF_COMPLETION_SIZE + size);
}

static void demand_data(const struct started *one)
{
    uint16_t id = one->item.request.landing.command_id;
    for (uint32_t i = 0; i < one->length; i++)
        DEMAND(one->data[i] == byte_at(id, i));
}

/* Take so many commands before the first answer, and answer them all, so often. */
struct rounds {
    pthread_t thread;
    unsigned rounds, commands;
};

static void *serve_rounds(void *argument)
{
    struct rounds *plan = argument;
    for (unsigned i = 0; i < plan->rounds; i++) {
        struct command commands[SIZE];
        for (unsigned j = 0; j < plan->commands; j++)
            commands[j] = take_command();
        for (unsigned j = plan->commands; j--;)
            answer(commands[j]);
    }
    return NULL;
}

static void serve(struct rounds *plan, unsigned rounds, unsigned commands)
{
    plan->rounds = rounds;
    plan->commands = commands;
    DEMAND(!pthread_create(&plan->thread, NULL, serve_rounds, plan));
}

/* Cases. */

static void case_each_is_called_back_once(void)
{
    struct rounds plan;
    serve(&plan, 1, 5);
    begin(5, VOF_BLK_IN, 4096);
    drive();
    pthread_join(plan.thread, NULL);
    demand_all(5, VOF_CARRIED, 1);
    for (unsigned i = 0; i < 5; i++)
        demand_data(&all[i]);
}

static void case_one_may_start_itself_again(void)
{
    struct rounds plan;
    for (unsigned i = 0; i < SIZE; i++)
        all[i].again = 20;
    serve(&plan, 21, SIZE);
    begin(SIZE, VOF_BLK_OUT, 512);
    drive();
    pthread_join(plan.thread, NULL);
    demand_all(SIZE, VOF_CARRIED, 21);
}

static void case_what_is_started_together_is_sent_together(void)
{
    struct vof_statistics before, after;
    begin(8, VOF_BLK_IN, 512);
    for (unsigned i = 0; i < 8; i++) {
        all[i].again = 1;
        answer(take_command());
    }
    vof_queue_statistics(queue, &before);
    vof_queue_look(queue);
    vof_queue_statistics(queue, &after);
    DEMAND(after.completed == 8 && after.submitted == 16);
    if (make_transport == vof_tcp_new)
        DEMAND(after.sends == before.sends + 1);
    for (unsigned i = 0; i < 8; i++)
        answer(take_command());
    drive();
    demand_all(8, VOF_CARRIED, 2);
}

/* The target takes no command before all its answers are taken. */
static void case_who_sends_from_where_it_is_called_back_receives_meanwhile(void)
{
    struct rounds plan;
    for (unsigned i = 0; i < 4; i++) {
        all[i].again = 3;
        all[i + 4].again = 3;
    }
    serve(&plan, 4, 8);
    atomic_store(&left, 8);
    for (unsigned i = 0; i < 4; i++) {
        DEMAND(start(&all[i], VOF_BLK_IN, LARGE) == VOF_STARTED);
        DEMAND(start(&all[i + 4], VOF_BLK_OUT, LARGE) == VOF_STARTED);
    }
    drive();
    pthread_join(plan.thread, NULL);
    demand_all(8, VOF_CARRIED, 4);
}

static void case_a_look_leaves_nothing_that_has_come(void)
{
    begin(4, VOF_BLK_IN, 512);
    for (unsigned i = 0; i < 4; i++)
        answer(take_command());
    vof_queue_look(queue);
    DEMAND(!atomic_load(&left));
    demand_all(4, VOF_CARRIED, 1);
    DEMAND(vof_queue_drive(queue, &driver, 0)); /* it was stopped before it began */
    DEMAND(!vof_queue_drive(queue, &driver, vof_now() + MOMENT)); /* once */
}

static void case_no_answer_is_the_end(void)
{
    block.timeout = 10 * MOMENT;
    begin(2, VOF_BLK_IN, 512);
    take_command();
    drive();
    DEMAND(vof_queue_failure(queue) == VOF_NO_ANSWER);
    demand_all(2, VOF_DECLINED, 1);
}

static void *answer_all_but_the_first(void *argument)
{
    (void)argument;
    uint16_t first = take_command().id;
    uint8_t head[VOF_COMMAND_SIZE], rest[VOF_BLK_HEADER_SIZE];
    while (recv(far, head, sizeof head, MSG_WAITALL) == sizeof head) {
        struct command command = {vof_get_command_id(head), vof_get_vq_lengths(head)};
        DEMAND(command.id != first);
        if (recv(far, rest, sizeof rest, MSG_WAITALL) != sizeof rest)
            break;
        uint8_t bytes[VOF_COMPLETION_SIZE + 512 + 1] = {0};
        vof_put_vq_completion(bytes, 0, command.id, 513, 513);
        if (send(far, bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes)
            break;
    }
    return NULL;
}

/* Nobody drives: those who wait for their own come and go. */
static void case_who_waits_looks_at_the_deadlines_of_the_others(void)
{
    pthread_t peer;
    uint8_t data[512];
    struct vof_failed failed;
    DEMAND(!pthread_create(&peer, NULL, answer_all_but_the_first, NULL));
    block.timeout = 10 * MOMENT;
    begin(1, VOF_BLK_IN, 512);
    block.timeout = 0;
    while (vof_block_read(&block, data, sizeof data, 0, &failed) == VOF_CARRIED)
        ;
    DEMAND(vof_queue_failure(queue) == VOF_NO_ANSWER);
    demand_all(1, VOF_DECLINED, 1);
    pthread_join(peer, NULL);
}

static void case_an_answer_that_stops_in_its_middle_is_none(void)
{
    uint8_t head[VOF_COMPLETION_SIZE];
    block.timeout = 10 * MOMENT;
    begin(1, VOF_BLK_IN, 512);
    vof_put_vq_completion(head, 0, take_command().id, 513, 513);
    send_all(head, sizeof head);
    drive();
    DEMAND(vof_queue_failure(queue) == VOF_NO_ANSWER);
    demand_all(1, VOF_DECLINED, 1);
}

static void case_a_drive_ends_at_its_deadline(void)
{
    for (int i = 0; i < 3; i++) {
        int64_t deadline = vof_now() + MOMENT;
        DEMAND(!vof_queue_drive(queue, &driver, deadline));
        DEMAND(vof_now() >= deadline);
    }
    /* As one that follows, too. */
    struct vof_driver other = {0};
    pthread_t thread;
    DEMAND(!pthread_create(&thread, NULL, drive_in_thread, NULL));
    await_activity(leads);
    int64_t deadline = vof_now() + MOMENT;
    DEMAND(!vof_queue_drive(queue, &other, deadline));
    DEMAND(vof_now() >= deadline);
    vof_queue_stop(queue, &driver);
    pthread_join(thread, NULL);
}

static void case_one_that_sleeps_is_stopped_at_once_and_has_the_lead_in_its_turn(void)
{
    pthread_t thread;
    struct vof_driver first = {0};
    DEMAND(vof_queue_try_lead(queue));
    DEMAND(!pthread_create(&thread, NULL, drive_in_thread, NULL));
    await_activity(follows);
    vof_queue_stop(queue, &driver);
    pthread_join(thread, NULL);
    DEMAND(!pthread_create(&thread, NULL, drive_in_thread, NULL));
    await_activity(follows);
    begin(1, VOF_BLK_IN, 512);
    vof_queue_release_lead(queue);
    answer(take_command());
    pthread_join(thread, NULL);
    demand_all(1, VOF_CARRIED, 1);
    DEMAND(!vof_queue_drive(queue, &first, vof_now() + MOMENT));
}

/* What is started over the next connection is received by who drove over the last one. */
static void case_a_drive_outlives_the_connection(void)
{
    pthread_t thread;
    keep = true;
    begin(2, VOF_BLK_IN, 512);
    take_command();
    DEMAND(!pthread_create(&thread, NULL, drive_in_thread, NULL));
    await_activity(leads);
    close(far);
    await_activity(sleeps);
    struct vofi_request *first = atomic_load(&kept), *second = first->next_out;
    DEMAND(first == &all[0].item.request && second == &all[1].item.request);
    DEMAND(!second->next_out);
    DEMAND(start(&all[2], VOF_BLK_IN, 512) == VOF_DECLINED);
    DEMAND(vof_queue_attach(queue, connect_far()));
    atomic_fetch_add(&left, 1);
    DEMAND(start(&all[2], VOF_BLK_IN, 512) == VOF_STARTED);
    answer(take_command());
    while (!atomic_load(&all[2].calls))
        sched_yield();
    DEMAND(vof_queue_resubmit(queue, first));
    answer(take_command());
    vof_queue_end(queue, second);
    pthread_join(thread, NULL);
    DEMAND(all[0].result == VOF_CARRIED && all[1].result == VOF_DECLINED);
    DEMAND(all[2].result == VOF_CARRIED);
    keep = false;
}

static void case_busy_where_there_is_no_room(void)
{
    begin(SIZE, VOF_BLK_IN, 512);
    struct started *more = calloc(1, sizeof *more);
    DEMAND(more);
    DEMAND(start(more, VOF_BLK_IN, 512) == VOF_BUSY);
    for (unsigned i = 0; i < SIZE; i++)
        answer(take_command());
    drive();
    DEMAND(!atomic_load(&more->calls));
    free(more);
    demand_all(SIZE, VOF_CARRIED, 1);
}

static void case_busy_where_somebody_is_alone(void)
{
    vof_gate_enter_alone(&block.gate);
    DEMAND(start(&all[0], VOF_BLK_OUT, 512) == VOF_BUSY);
    vof_gate_leave_alone(&block.gate);
    begin(1, VOF_BLK_OUT, 512);
    answer(take_command());
    drive();
    demand_all(1, VOF_CARRIED, 1);
}

static void case_what_is_not_started_is_not_called_back(void)
{
    struct vof_block_operation flush = {VOF_BLK_FLUSH, 0, 0, NULL, false};
    DEMAND(start(&all[0], VOF_BLK_IN, 100) == VOF_DECLINED);
    DEMAND(start(&all[0], VOF_BLK_GET_ID, 512) == VOF_DECLINED);
    DEMAND(start(&all[0], VOF_BLK_DISCARD, 512) == VOF_DECLINED); /* it is not offered */
    DEMAND(vof_block_start(&block, 0, &all[0].item, &flush, on_done, &all[0]) == VOF_CARRIED);
    vof_queue_end_here(queue);
    vof_queue_settle(queue);
    DEMAND(start(&all[0], VOF_BLK_OUT, 512) == VOF_DECLINED);
    demand_all(0, VOF_CARRIED, 0);
    DEMAND(!atomic_load(&all[0].calls));
}

static void case_who_ends_the_queue_calls_back(void)
{
    begin(3, VOF_BLK_OUT, 512);
    vof_queue_end_here(queue);
    vof_queue_settle(queue);
    demand_all(3, VOF_DECLINED, 1);
    drive();
}

/* An answer to what waits to be sent: nobody can have seen it. */
static void case_an_answer_to_what_is_not_sent_is_a_violation(void)
{
    begin(1, VOF_BLK_IN, 512);
    all[0].again = 1;
    struct command command = take_command();
    answer(command);
    answer(command);
    answer(command);
    drive();
    DEMAND(vof_queue_failure(queue) == VOF_VIOLATION);
    DEMAND(all[0].result == VOF_DECLINED);
}

#define CASE(name) {#name, case_##name}

static const struct {
    const char *name;
    void (*run)(void);
} CASES[] = {
    CASE(each_is_called_back_once),
    CASE(one_may_start_itself_again),
    CASE(what_is_started_together_is_sent_together),
    CASE(who_sends_from_where_it_is_called_back_receives_meanwhile),
    CASE(a_look_leaves_nothing_that_has_come),
    CASE(no_answer_is_the_end),
    CASE(who_waits_looks_at_the_deadlines_of_the_others),
    CASE(an_answer_that_stops_in_its_middle_is_none),
    CASE(a_drive_ends_at_its_deadline),
    CASE(one_that_sleeps_is_stopped_at_once_and_has_the_lead_in_its_turn),
    CASE(a_drive_outlives_the_connection),
    CASE(busy_where_there_is_no_room),
    CASE(busy_where_somebody_is_alone),
    CASE(what_is_not_started_is_not_called_back),
    CASE(who_ends_the_queue_calls_back),
    CASE(an_answer_to_what_is_not_sent_is_a_violation),
};

static void set_up(void)
{
    alarm(PATIENCE);
    queue = vof_queue_new(connect_far(), VOF_FRAMING_LENGTHS, SIZE, on_lost, NULL);
    DEMAND(queue);
    vof_queue_set_tick(queue, MOMENT);
    block.geometry = (struct vof_geometry){
        .size = 1 << 30, .block_size = 512, .size_max = LARGE, .max_transfer = LARGE};
    block.queues[0] = queue;
    block.count = 1;
    block.framing = VOF_FRAMING_LENGTHS;
    vof_gate_init(&block.gate);
}

static void tear_down(void)
{
    unsigned before = atomic_load(&losses);
    bool ends = vof_queue_end_here(queue);
    vof_queue_settle(queue);
    DEMAND(atomic_load(&losses) == before + ends);
    struct vof_statistics statistics;
    struct vof_activity activity;
    vof_queue_statistics(queue, &statistics);
    vof_queue_activity(queue, &activity);
    DEMAND(statistics.submitted == statistics.completed);
    DEMAND(!activity.leading && !activity.followers && !activity.sending);
    vof_queue_free(queue);
    vof_gate_destroy(&block.gate);
    close(far);
}

int main(int count, char **arguments)
{
    DEMAND(count == 3);
    make_transport = strcmp(arguments[1], "slow") ? vof_tcp_new : slow_transport_new;
    for (unsigned i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (!strcmp(CASES[i].name, arguments[2])) {
            set_up();
            CASES[i].run();
            tear_down();
            return 0;
        }
    }
    return 2;
}
