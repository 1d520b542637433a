/* Pools that span this host and agents on it, and the tasks that tell where they are. */
#ifndef TESTS_LIB_CLUSTER_H
#define TESTS_LIB_CLUSTER_H
#include "tests/lib/agents.h"
#include "tests/lib/board.h"
#include <signal.h>

/* The process that its worker was forked from: one for each host. */
static mp_status tell_family(const int *in, int *out, mp_call *call)
{
    (void)in;
    (void)call;
    *out = (int)getppid();
    return MP_OK;
}
MP_TASK(tell_family, int, int);

static mp_status crash_some(const int *in, int *out, mp_call *call)
{
    (void)call;
    if (*in < 0)
        raise(SIGSEGV);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(crash_some, int, int);

static mp_status sum_bytes(const mp_bytes *in, uint64_t *out, mp_call *call)
{
    (void)call;
    const unsigned char *bytes = in->data;
    uint64_t sum = 0;
    for (size_t i = 0; i < in->size; i += 4093)
        sum += bytes[i] * (uint64_t)(i + 1);
    *out = sum + in->size;
    return MP_OK;
}
MP_TASK(sum_bytes, mp_bytes, uint64_t);

enum { AGENTS_MAX = 4 };
static pid_t agents[AGENTS_MAX];
static int agent_count;

static inline pid_t agent_add(const char *more)
{
    return agents[agent_count++] = agent_start_with(more, -1);
}

static inline void span(const char *terms, int count)
{
    board_open();
    setenv("MILLPOND_CPU_COUNT", "2", 1); /* agents' too */
    hall_begin(terms);
    for (int i = 0; i < count; i++)
        agent_add(NULL);
}

/* Agents that are still there leave by themselves. */
static inline void span_end(void)
{
    mp__hall_close();
    for (int i = 0; i < agent_count; i++)
        if (agents[i])
            cr_assert(ge(int, agent_end(agents[i]), 0), "an agent does not leave");
    agent_count = 0;
    board_close();
}

/* It is dead and reaped; what it had dies by itself, and comes to us. */
static inline void agent_kill(int which)
{
    kill(agents[which], SIGKILL);
    waitpid(agents[which], NULL, 0);
    agents[which] = 0;
}

#define SPANNING(...)                                                                                                      \
    __extension__({                                                                                                        \
        mp_pool *opened_pool;                                                                                              \
        mp_error opened_error;                                                                                             \
        mp_status opened = mp_pool_open(&opened_pool, .kind = MP_CLUSTER, .error = &opened_error, __VA_ARGS__);            \
        cr_assert(eq(int, opened, MP_OK), "%s", opened_error.message);                                                     \
        opened_pool;                                                                                                       \
    })

static inline mp_pool_stats spanning_stats(mp_pool *pool)
{
    mp_pool_stats stats = {0};
    (void)mp_pool_get_stats(pool, &stats);
    return stats;
}

static inline void spanning_end(mp_pool **pool)
{
    cr_assert(eq(int, mp_pool_close(*pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(*pool, PROMPT), MP_OK));
    mp_pool_free(pool);
}

#endif
