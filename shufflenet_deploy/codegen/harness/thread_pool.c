/* Threads that do the inferences of the network that is linked in, each its part.

   They meet before an inference and after each of its stages. Who comes early looks for the others
   for a moment, which is all it takes where each thread has a core, and then sleeps. Where others
   want the cores, looking keeps from work those who are looked for: who has looked in vain looks
   for half as long the next time in that inference. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "thread_pool.h"

/* At most longer than threads of equal shares wait for each other, at least as long as to ask. */
enum { LONGEST_NS = 50000, SHORTEST_NS = 500, LOOKS = 16 };

/* What two cores write by turns is 128 bytes apart: some fetch cache lines in pairs. */
static struct {
    _Alignas(128) atomic_int here;   /* who has come */
    _Alignas(128) atomic_uint round; /* how often all have met */
    _Alignas(128) atomic_int sleepers;
} meeting;

static struct {
    pthread_t threads[NET_MOST_PARTS];
    int parts, ending;
    const float *input;
    float *output;
} pool;

static _Thread_local int looking_ns = LONGEST_NS;

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void look_away(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

static void await(unsigned round)
{
    const int64_t until = now_ns() + looking_ns;
    do {
        for (int look = 0; look < LOOKS; ++look) {
            if (atomic_load_explicit(&meeting.round, memory_order_acquire) != round) {
                looking_ns = 2 * looking_ns < LONGEST_NS ? 2 * looking_ns : LONGEST_NS;
                return;
            }
            look_away();
        }
    } while (now_ns() < until);
    looking_ns = looking_ns / 2 > SHORTEST_NS ? looking_ns / 2 : SHORTEST_NS;
    /* Who ends the round looks for sleepers after it has: one of the two sees the other. */
    atomic_fetch_add(&meeting.sleepers, 1);
    while (atomic_load(&meeting.round) == round)
        syscall(SYS_futex, &meeting.round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&meeting.sleepers, 1);
}

/* Returns when all have come; what they wrote before is seen by everyone. */
static void meet(void)
{
    const unsigned round = atomic_load_explicit(&meeting.round, memory_order_relaxed);
    if (atomic_fetch_add(&meeting.here, 1) + 1 < pool.parts) {
        await(round);
        return;
    }
    atomic_store_explicit(&meeting.here, 0, memory_order_relaxed);
    atomic_store(&meeting.round, round + 1);
    if (atomic_load(&meeting.sleepers) > 0)
        syscall(SYS_futex, &meeting.round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *work(void *argument)
{
    const int part = (int)(intptr_t)argument;
    for (;;) {
        meet();
        if (pool.ending)
            return NULL;
        looking_ns = LONGEST_NS;
        for (int stage = 0; stage < NET_STAGES; ++stage) {
            net_run_part(stage, part, pool.parts, pool.input, pool.output);
            meet();
        }
    }
}

int pool_start(int threads)
{
    pool.parts = threads;
    for (int part = 1; part < threads; ++part) {
        const int error = pthread_create(&pool.threads[part], NULL, work, (void *)(intptr_t)part);
        if (error)
            return error;
    }
    return 0;
}

void pool_run(const float *input, float *output, void (*done)(int layer))
{
    pool.input = input, pool.output = output;
    meet();
    looking_ns = LONGEST_NS;
    for (int stage = 0; stage < NET_STAGES; ++stage) {
        net_run_part(stage, 0, pool.parts, input, output);
        meet();
        for (int layer = net_stages[stage].first; done && layer <= net_stages[stage].last; ++layer)
            done(layer);
    }
}

void pool_run_by_turns(int parts, const float *input, float *output)
{
    for (int stage = 0; stage < NET_STAGES; ++stage)
        for (int part = 0; part < parts; ++part) {
            syscall(SYS_getpriority, part + 1, 0);
            net_run_part(stage, part, parts, input, output);
        }
    syscall(SYS_getpriority, 0, 0);
}

void pool_end(void)
{
    pool.ending = 1;
    meet();
    for (int part = 1; part < pool.parts; ++part)
        pthread_join(pool.threads[part], NULL);
}
