/* Futures under load: the long runs of the races, and completions by the hundred thousand from several executors at once. */
#include "tests/lib/races.h"

TestSuite(race, .timeout = 300);
TestSuite(load, .timeout = 300);

EACH_KIND(race, cancel_against_start__is_one_or_the_other)
{
    race_cancel(2, ROUNDS(100000));
}

EACH_KIND(race, cancel_against_start_on_one_worker__is_one_or_the_other)
{
    race_cancel(1, ROUNDS(100000));
}

CHECK(race, cancel_against_set_running__is_one_or_the_other)
{
    race_own(ROUNDS(100000));
}

EACH_KIND(race, shutdown_against_everything__all_end_once)
{
    for (int round = 0; round < few_lives(1000); round++)
        race_shutdown(round);
}

/* ---- load ---- */

typedef struct reader {
    pthread_t thread;
    mp_executor *executor;
    int first, n;
    _Atomic int wrong;
} reader;

/* Submits all of its own and takes them as they are completed. */
static void *submit_and_read(void *argument)
{
    reader *me = argument;
    mp_future **futures = calloc((size_t)me->n, sizeof *futures), *one = NULL;
    long long sum = 0, wanted = 0;
    for (int i = 0; i < me->n; i++) {
        futures[i] = SUBMIT(me->executor, mark, me->first + i);
        wanted += me->first + i + 1;
    }
    mp_as_completed *each = mp_as_completed_new(futures, (size_t)me->n, 10 * PROMPT);
    free_futures(futures, (size_t)me->n);
    for (int got = 0; mp_as_completed_next(each, &one) == MP_OK; sum += got)
        me->wrong += mp_future_result(one, &got, 0) != MP_OK;
    me->wrong += sum != wanted;
    mp_as_completed_free(&each);
    free(futures);
    return NULL;
}

EACH_KIND(load, four_threads_that_submit_and_read__each_gets_its_own)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .max_queue = 0);
    reader readers[4];
    int n = ROUNDS(50000);
    for (int i = 0; i < 4; i++) {
        readers[i] = (reader){.executor = executor, .first = i * n, .n = n};
        cr_assert(zero(int, pthread_create(&readers[i].thread, NULL, submit_and_read, &readers[i])));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(readers[i].thread, NULL);
        cr_assert(zero(int, readers[i].wrong));
    }
    mp_executor_free(&executor);
    cr_assert(eq(sz, board_find_other((size_t)n * 4, 1), (size_t)n * 4));
}
