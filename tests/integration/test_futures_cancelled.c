/* Threads that are cancelled (pthread_cancel) in calls on futures: none of these calls is where they end, so no lock stays taken and
 * no future knows of a stack that is gone. Futures of one's own, which have locks of their own; and refused ones likewise. */
#include "serial/memory.h"
#include "tests/lib/futures.h"
#include <pthread.h>

TestSuite(cancelled, .timeout = 60);
TestSuite(refused, .timeout = 60);

static _Atomic int passed; /* calls that returned, with the right answer */

static void *wait_in_vain(void *argument)
{
    mp_future *future = argument, *next;
    pthread_cancel(pthread_self()); /* and now it would end at the next cancellation point */
    passed += mp_future_result(future, NULL, 0.001) == MP_ETIMEDOUT;
    passed += mp_future_exception(future, 0.001)->status == MP_ETIMEDOUT;
    passed += mp_wait(&future, 1, MP_ALL_COMPLETED, 0.001).status == MP_ETIMEDOUT;
    mp_as_completed *each = mp_as_completed_new(&future, 1, 0.001);
    passed += mp_as_completed_fd(each) >= 0;
    passed += mp_as_completed_next(each, &next) == MP_ETIMEDOUT;
    mp_as_completed_free(&each);
    passed += mp_when_any(&future, 1, 0.001) == NULL;
    passed++;
    pthread_testcancel();
    passed++; /* never */
    return NULL;
}

CHECK(cancelled, waits_for_ones_own__return_and_leave_it_as_it_was)
{
    pthread_t thread;
    void *gave;
    mp_future *future = mp_future_new(int);
    passed = 0;
    pthread_create(&thread, NULL, wait_in_vain, future);
    pthread_join(thread, &gave);
    cr_assert(eq(int, passed, 7));
    cr_assert(eq(ptr, gave, PTHREAD_CANCELED));
    cr_assert(eq(int, mp_future_set_result(future, &(int){6}), MP_OK));
    EXPECT_RESULT(future, 6);
    mp_future_free(&future);
}

static void *finish_watched(void *argument)
{
    pthread_cancel(pthread_self());
    passed += mp_future_set_running_or_notify_cancel(argument);
    passed += mp_future_set_result(argument, &(int){7}) == MP_OK; /* which writes the watcher's descriptor */
    pthread_testcancel();
    passed++;
    return NULL;
}

CHECK(cancelled, finishing_ones_own_that_is_watched__tells_the_watcher)
{
    pthread_t thread;
    void *gave;
    mp_future *next, *future = mp_future_new(int);
    mp_as_completed *each = mp_as_completed_new(&future, 1, PROMPT);
    cr_assert(ge(int, mp_as_completed_fd(each), 0));
    passed = 0;
    pthread_create(&thread, NULL, finish_watched, future);
    pthread_join(thread, &gave);
    cr_assert(eq(int, passed, 2));
    cr_assert(eq(ptr, gave, PTHREAD_CANCELED));
    cr_assert(eq(int, mp_as_completed_next(each, &next), MP_OK));
    cr_assert(eq(ptr, next, future));
    EXPECT_RESULT(future, 7);
    mp_as_completed_free(&each);
    mp_future_free(&future);
}

/* --- futures that were refused ------------------------------------------------------------------------------------------------- */

static void *no_malloc(size_t size)
{
    (void)size;
    return NULL;
}

static void *no_calloc(size_t n, size_t size)
{
    (void)n;
    (void)size;
    return NULL;
}

/* The one that stands for all that there is no memory for. */
static mp_future *submit_without_memory(void)
{
    mp__memory_calls usual = mp__memory;
    mp__memory.malloc = no_malloc;
    mp__memory.calloc = no_calloc;
    mp_future *future = mp_submit(NULL, mark, (&(int){1}));
    mp__memory = usual;
    cr_assert(eq(int, mp_future_result(future, NULL, 0), MP_ENOMEM));
    return future;
}

CHECK(refused, for_want_of_memory__is_waited_for_as_any_that_is_done)
{
    mp_future *next, *future = submit_without_memory();
    mp_wait_result result = mp_wait(&future, 1, MP_FIRST_EXCEPTION, 0);
    cr_assert(eq(int, result.status, MP_OK));
    cr_assert(eq(sz, result.done, 1));
    cr_assert(eq(sz, result.not_done, 0));
    mp_as_completed *each = mp_as_completed_new(&future, 1, 0);
    cr_assert(eq(int, mp_as_completed_next(each, &next), MP_OK));
    cr_assert(eq(ptr, next, future));
    cr_assert(eq(int, mp_as_completed_next(each, &next), MP_END));
    mp_as_completed_free(&each);
    mp_future_free(&future);
}

CHECK(refused, set_by_somebody__is_done_already)
{
    mp_error error = error_of(MP_EUSER, "no");
    mp_future *futures[] = {submit_without_memory(), mp_submit(NULL, mark, (&(int){1}))};
    for (int i = 0; i < 2; i++) {
        cr_assert(eq(int, mp_future_set_result(futures[i], &(int){1}), MP_EDONE));
        cr_assert(eq(int, mp_future_set_exception(futures[i], &error), MP_EDONE));
        cr_assert(not(mp_future_set_running_or_notify_cancel(futures[i])));
    }
    free_futures(futures, 2);
}
