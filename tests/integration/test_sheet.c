/* Memory of futures, which comes from sheets that several share: whoever takes and whoever frees, each has its own, as long as it is
 * held. */
#include "tests/lib/futures.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

TestSuite(sheet, .timeout = 120);

enum { THREADS = 3, SLOTS = 64, MANY = 1000, KEPT_EACH = 10, BURST = 50000, TOGETHER = 100, TIMES = 4000 };

typedef struct exchange {
    mp_executor *executor;
    _Atomic(mp_future *) slots[SLOTS];
    _Atomic long sum;
    atomic_int wrong;
    int each;
} exchange;

static void take_back(exchange *x, mp_future *future)
{
    int got = 0;
    if (!future)
        return;
    x->wrong += mp_future_result(future, &got, PROMPT) != MP_OK;
    x->sum += got;
    mp_future_free(&future);
}

/* What it submits goes into a slot; what was there, mostly another thread's, it takes back. */
static void *submit_and_take_back(void *argument)
{
    exchange *x = argument;
    for (int i = 0; i < x->each; i++)
        take_back(x, atomic_exchange(&x->slots[i % SLOTS], SUBMIT(x->executor, mark, i)));
    return NULL;
}

/* Each comes back once, with its own result: else the sum is another one. */
EACH_KIND(sheet, freed_by_other_threads__each_has_its_own)
{
    exchange x = {.executor = OPEN_EXECUTOR(.max_workers = 2), .each = ROUNDS(6000)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, submit_and_take_back, &x)));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < SLOTS; i++)
        take_back(&x, x.slots[i]);
    cr_assert(eq(int, x.wrong, 0));
    cr_assert(eq(long, x.sum, (long)THREADS *x.each *(x.each + 1) / 2));
    mp_executor_free(&x.executor);
}

/* Some of each sheet are kept: when all else is gone, too. */
EACH_KIND(sheet, kept_beyond_executor_and_pool__still_there)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[MANY];
    for (int i = 0; i < MANY; i++)
        futures[i] = SUBMIT(executor, mark, i);
    for (int i = 0; i < MANY; i++) {
        EXPECT_RESULT(futures[i], i + 1);
        if (i % KEPT_EACH)
            mp_future_free(&futures[i]);
    }
    mp_executor_free(&executor);
    for (int i = 0; i < MANY; i += KEPT_EACH) {
        EXPECT_RESULT(futures[i], i + 1);
        mp_future_free(&futures[i]);
    }
}

static void some_together(mp_executor *executor, mp_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, mark, i);
    for (int i = 0; i < n; i++)
        EXPECT_RESULT(futures[i], i + 1);
    mp_futures_free(futures, (size_t)n);
}

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

/* Sheets of a burst, 6 MB, are kept for the next one; but not by who goes on with less. */
CHECK(sheet, after_a_burst__goes_back_in_the_course_of_time, .disabled = CHECK_ASAN || CHECK_TSAN)
{
    static mp_future *futures[BURST];
    how = (pool_kind){"threads", MP_THREADS, MP_DEFAULT_START};
    board_open();
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    some_together(executor, futures, BURST);
    size_t after = allocated();
    for (int i = 0; i < TIMES; i++)
        some_together(executor, futures, TOGETHER);
    cr_assert(lt(sz, allocated() + 4000000, after), "%zu bytes after the burst, %zu later", after, allocated());
    mp_executor_free(&executor);
    board_close();
}
