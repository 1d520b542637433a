/* Memory of futures, which comes from sheets that several share: whoever takes and whoever frees, each has its own, as long as it is
 * held. */
#include "tests/lib/futures.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

TestSuite(sheet, .timeout = 120);

enum { THREADS = 3, SLOTS = 64, MANY = 1000, KEPT_EACH = 10, BURST = 100000, TOGETHER = 100, TIMES = 4000, POOLS = 100 };

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

static void submit_marks(mp_executor *executor, mp_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, mark, i);
}

/* Some of each sheet are kept: when all else is gone, too. */
EACH_KIND(sheet, kept_beyond_executor_and_pool__still_there)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[MANY];
    submit_marks(executor, futures, MANY);
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
    submit_marks(executor, futures, n);
    for (int i = 0; i < n; i++)
        EXPECT_RESULT(futures[i], i + 1);
    mp_futures_free(futures, (size_t)n);
}

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

/* No leak checker sees them: under AddressSanitizer there are none. */
CHECK(sheet, executor_after_executor__leaves_nothing, .disabled = CHECK_ASAN || CHECK_TSAN)
{
    mp_future *futures[TOGETHER];
    size_t after = 0;
    how = (pool_kind){"threads", MP_THREADS, MP_DEFAULT_START};
    board_open();
    for (int i = 0; i < POOLS; i++) {
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
        some_together(executor, futures, TOGETHER);
        mp_executor_free(&executor);
        if (i == POOLS / 10)
            after = allocated();
    }
    cr_assert(lt(sz, allocated(), after + POOLS * 1000), "%zu bytes after a tenth of them, %zu later", after, allocated());
    board_close();
}

static void *free_all(void *futures)
{
    mp_futures_free(futures, MANY);
    return NULL;
}

/* A sheet that comes back when the pool goes is kept by nobody. */
EACH_KIND(sheet, freed_while_the_executor_is__by_another_thread)
{
    for (int round = 0; round < ROUNDS(20); round++) {
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
        mp_future *futures[MANY];
        pthread_t thread;
        submit_marks(executor, futures, MANY);
        EXPECT_RESULT(futures[MANY - 1], MANY);
        cr_assert(zero(int, pthread_create(&thread, NULL, free_all, futures)));
        mp_executor_free(&executor);
        pthread_join(thread, NULL);
    }
}

/* Sheets of a burst, 11 MB, are kept for the next one; but not by who goes on with less. */
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
