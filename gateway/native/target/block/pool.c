// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK_SIZE = 128 << 10, /* bytes; a thread needs a few KiB of it */
    IDLE_SECONDS = 10,
};

struct vof_pool {
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t work_came;
    pthread_cond_t thread_ended;
    struct vof_work *first;
    struct vof_work **last;
    unsigned waiting; /* work that no thread has taken */
    unsigned idle;    /* threads that wait for some */
    unsigned threads;
    unsigned most;
    bool closing;
    pid_t process;
};

struct vof_pool *vof_pool_open(unsigned threads)
{
    struct vof_pool *pool = calloc(1, sizeof *pool);
    pthread_condattr_t clock;

    if (!pool)
        return NULL;
    pool->last = &pool->first;
    pool->most = threads;
    pool->process = getpid();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work_came, &clock);
    pthread_cond_init(&pool->thread_ended, NULL);
    pthread_condattr_destroy(&clock);
    return pool;
}

/* Wait for work; NULL where none came for a while, or none will. The lock is held. */
static struct vof_work *take(struct vof_pool *pool)
{
    struct vof_work *work;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    pool->idle++;
    while (!pool->first && !pool->closing)
        if (pthread_cond_timedwait(&pool->work_came, &pool->lock, &until) == ETIMEDOUT)
            break;
    pool->idle--;
    work = pool->first;
    if (work) {
        pool->first = work->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->waiting--;
    }
    return work;
}

static void *run(void *argument)
{
    struct vof_pool *pool = argument;
    struct vof_work *work;

    pthread_mutex_lock(&pool->lock);
    while ((work = take(pool))) {
        pthread_mutex_unlock(&pool->lock);
        work->run(work);
        pthread_mutex_lock(&pool->lock);
    }
    pool->threads--;
    pthread_cond_signal(&pool->thread_ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* The lock is held. */
static bool begin_thread(struct vof_pool *pool)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* Signals are for the threads that know what they mean. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, run, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error)
        return false;
    pool->threads++;
    return true;
}

bool vof_pool_submit(struct vof_pool *pool, struct vof_work *work)
{
    bool taken = true;

    pthread_mutex_lock(&pool->lock);
    if (pool->waiting >= pool->idle && pool->threads < pool->most && !begin_thread(pool))
        taken = pool->threads > 0;
    if (taken) {
        work->next = NULL;
        *pool->last = work;
        pool->last = &work->next;
        pool->waiting++;
        pthread_cond_signal(&pool->work_came);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

void vof_pool_close(struct vof_pool *pool)
{
    if (getpid() != pool->process)
        return; /* what is left of it is a copy of no use, and its lock may be held for ever */
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work_came);
    while (pool->threads)
        pthread_cond_wait(&pool->thread_ended, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&pool->work_came);
    pthread_cond_destroy(&pool->thread_ended);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
