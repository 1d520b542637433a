/* Calls that are waited for, one after the other, by one thread or by several: whatever they wait by, each has its own result or its own
 * failure. The pool stays the caller's. */
#ifndef TESTS_LIB_APPLIES_H
#define TESTS_LIB_APPLIES_H
#include "tests/lib/futures.h"
#include <pthread.h>

enum { APPLIES = 2000 };

static inline void apply_one(mp_pool *pool, int number)
{
    int out = -77;
    mp_error error;
    cr_assert(eq(int, mp_pool_apply(pool, mark, &number, &out, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(int, out, number + 1));
}

/* Each third one fails. */
static inline void apply_with_failures(mp_pool *pool)
{
    for (int i = 0; i < ROUNDS(APPLIES); i++) {
        mp_error error;
        int out = -77, number = i % 3 ? i : -1 - i;
        mp_status wanted = i % 3 ? MP_OK : (mp_status)(MP_EUSER + 1 + i);
        cr_assert(eq(int, mp_pool_apply(pool, mark, &number, &out, .error = &error), wanted), "%s", error.message);
        cr_assert(eq(int, out, i % 3 ? i + 1 : 0));
    }
}

static inline void apply_of_any_size(mp_pool *pool)
{
    for (int size = 0; size < 3 << 20; size = size * 3 / 2 + 1) {
        mp_str out;
        cr_assert(eq(int, mp_pool_apply(pool, tell_text, &size, &out), MP_OK));
        cr_assert(is_text(&out, (size_t)size));
        mp_free(mp_str, &out, 1);
        apply_one(pool, size);
    }
}

typedef struct applier {
    pthread_t thread;
    mp_pool *pool;
    int first, wrong;
    _Atomic int done;
} applier;

static inline void *apply_many(void *argument)
{
    applier *me = argument;
    for (int i = 0; i < ROUNDS(APPLIES); i++) {
        int number = me->first + i, out = -77;
        me->wrong += mp_pool_apply(me->pool, mark, &number, &out) != MP_OK || out != number + 1;
        me->done++;
    }
    return NULL;
}

/* Four at most. */
static inline void apply_from_threads(mp_pool *pool, int threads)
{
    applier all[4] = {{0}};
    for (int k = 0; k < threads; k++) {
        all[k] = (applier){.pool = pool, .first = k * APPLIES};
        cr_assert(zero(int, pthread_create(&all[k].thread, NULL, apply_many, &all[k])));
    }
    for (int k = 0; k < threads; k++) {
        pthread_join(all[k].thread, NULL);
        cr_assert(zero(int, all[k].wrong), "of thread %d", k);
    }
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.succeeded, (uint64_t)threads * ROUNDS(APPLIES)));
    cr_assert(eq(u64, stats.accepted, stats.succeeded));
}

/* What others post, cancel and ask while one applies is not held up. */
static inline void apply_among_others(mp_pool *pool)
{
    applier one = {.pool = pool};
    cr_assert(zero(int, pthread_create(&one.thread, NULL, apply_many, &one)));
    for (int i = 0; one.done < ROUNDS(APPLIES); i++) {
        mp_async *async = mp_pool_apply_async(pool, mark, (&(int){i}));
        (void)stats_of(pool);
        if (i % 2)
            cr_assert(eq(int, mp_async_cancel(async), MP_OK));
        cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
        mp_async_free(&async);
    }
    pthread_join(one.thread, NULL);
    cr_assert(zero(int, one.wrong));
}

#endif
