/* Large items for many lives on one connection: all of them arrive, in whatever order room is made for them. */
#include "tests/lib/cluster.h"
#include <pthread.h>

TestSuite(large, .timeout = 120);

enum { LARGE = 1 << 20, LIVES = 16 };
static mp_bytes large[LIVES];

static uint64_t make_large(void)
{
    static unsigned char bytes[LARGE];
    uint64_t sum;
    memset(bytes, 7, sizeof bytes);
    for (int i = 0; i < LIVES; i++)
        large[i] = (mp_bytes){bytes, LARGE};
    (void)sum_bytes(&large[0], &sum, NULL);
    return sum;
}

static void *wake_agent(void *nothing)
{
    nap_us(30000);
    kill(agents[0], SIGCONT);
    return nothing;
}

/* While the agent does not read, connection and windows fill up, and some lives have everything still to come, and nothing under way.
 * Then it goes on while somebody waits for its answer about one life, who so makes room for all of them. */
static void submit_to_the_deaf(mp_executor *executor, mp_future *futures[LIVES])
{
    pthread_t waker;
    kill(agents[0], SIGSTOP);
    for (int i = 0; i < LIVES; i++)
        futures[i] = mp_submit(executor, sum_bytes, &large[i]);
    cr_assert(zero(int, pthread_create(&waker, NULL, wake_agent, NULL)));
    (void)mp_future_running(futures[0]);
    pthread_join(waker, NULL);
}

CHECK(large, for_many_lives__all_go)
{
    mp_executor *executor;
    mp_future *futures[LIVES];
    uint64_t expected = make_large(), sum;
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = LIVES);
    cr_assert(eq(int, mp_executor_over(&executor, pool), MP_OK));
    for (int round = 0; round < 20; round++) {
        submit_to_the_deaf(executor, futures);
        for (int i = 0; i < LIVES; i++) {
            cr_assert(eq(int, mp_future_result(futures[i], &sum, PROMPT), MP_OK), "round %d, item %d", round, i);
            cr_assert(eq(u64, sum, expected));
        }
        mp_futures_free(futures, LIVES);
    }
    mp_executor_free(&executor);
    spanning_end(&pool);
    span_end();
}

/* A worker is told to leave when it has been sent its last item: behind it, wherever that waits. */
CHECK(large, for_lives_that_end__are_run)
{
    uint64_t sums[LIVES], expected = make_large();
    mp_error error;
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 2, .maxtasksperchild = 1);
    for (int round = 0; round < 3; round++) {
        cr_assert(eq(int, mp_pool_map(pool, sum_bytes, large, LIVES, sums, .chunksize = 1, .error = &error), MP_OK), "%s",
                  error.message);
        for (int i = 0; i < LIVES; i++)
            cr_assert(eq(u64, sums[i], expected));
    }
    cr_assert(zero(u64, spanning_stats(pool).lost));
    spanning_end(&pool);
    span_end();
}
