/* MP_SERIAL: how items, workers and pools end: failures, retries, time-outs, cancels, lives, Ctrl-C, crashes. */
#include "tests/lib/check.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/spawn.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

TestSuite(failure, .timeout = 60);
TestSuite(policy, .timeout = 60);
TestSuite(life, .timeout = 60);
TestSuite(end, .timeout = 60);
TestSuite(refused, .timeout = 60);

enum { N = 100, PROMPT = 20, BAD = 30 };
static int items[N], results[N];
static mp_status statuses[N];
static int ran;

#define OPEN(...)                                                                                                          \
    __extension__({                                                                                                        \
        mp_pool *opened;                                                                                                   \
        mp_error why;                                                                                                      \
        cr_assert(eq(int, mp_pool_open(&opened, .kind = MP_SERIAL, .error = &why, __VA_ARGS__), MP_OK), "%s",              \
                  why.message);                                                                                            \
        for (int i = 0; i < N; i++)                                                                                        \
            items[i] = i;                                                                                                  \
        opened;                                                                                                            \
    })

static mp_status fail_bad(const int *in, int *out, mp_call *call)
{
    ran++;
    *out = *in + 1;
    return *in % BAD == BAD - 1 ? mp_fail(call, MP_EFAILED, "%d is bad", *in) : MP_OK;
}
MP_TASK(fail_bad, int, int);

CHECK(failure, one_item__is_its_own)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, fail_bad, items, N, results, .statuses = statuses, .error = &error), MP_EFAILED));
    cr_assert(says(&error, "29 is bad"), "%s", error.message);
    cr_assert(eq(sz, error.item, BAD - 1));
    cr_assert(zero(int, error.worker));
    cr_assert(eq(int, error.pid, getpid()));
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, statuses[i], i % BAD == BAD - 1 ? MP_EFAILED : MP_OK));
    cr_assert(eq(int, ran, N));
    mp_pool_free(&pool);
}

CHECK(policy, stop_at_the_first__starts_nothing_behind_it)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    ran = 0;
    cr_assert(eq(int, mp_pool_map(pool, fail_bad, items, N, results, .statuses = statuses, .stop_at = 1), MP_EFAILED));
    cr_assert(eq(int, ran, BAD));
    cr_assert(eq(int, statuses[BAD], MP_ECANCELLED));
    mp_pool_free(&pool);
}

static mp_status third_time(const int *in, int *out, mp_call *call)
{
    ran++;
    *out = *in + (int)mp_call_attempt(call);
    return mp_call_attempt(call) < 3 ? MP_EFAILED : MP_OK;
}
MP_TASK(third_time, int, int);

CHECK(policy, retries__are_over_when_the_call_returns)
{
    mp_pool *pool = OPEN(.retries = 5, .retry_delay = 0.01);
    ran = 0;
    mp_async *call = mp_pool_apply_async(pool, third_time, &items[1]);
    cr_assert(eq(int, ran, 3));
    cr_assert(eq(int, mp_async_get(call, results, 0), MP_OK));
    cr_assert(eq(int, results[0], 4));
    mp_async_free(&call);
    mp_pool_free(&pool);
}

/* Until it is told, or for ever. */
static mp_status until_told(const int *in, int *out, mp_call *call)
{
    *out = *in;
    while (!mp_call_cancelled(call))
        nap_us(200);
    return MP_EFAILED;
}
MP_TASK(until_told, int, int);

CHECK(policy, timeout__is_seen_by_the_task)
{
    mp_pool *pool = OPEN(.timeout = 0.02);
    cr_assert(eq(int, mp_pool_apply(pool, until_told, &items[1], results), MP_ETIMEDOUT));
    mp_pool_free(&pool);
}

CHECK(policy, deadline__ends_what_has_not_started)
{
    mp_pool *pool = OPEN(.grace = 0.01);
    cr_assert(
        eq(int, mp_pool_map(pool, until_told, items, N, results, .statuses = statuses, .deadline = 0.02), MP_ETIMEDOUT));
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, statuses[i], MP_ETIMEDOUT));
    mp_pool_free(&pool);
}

/* ---- lives ---- */

static int begun, ended, alive;
static pthread_t began_on;

static mp_status begin(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    begun++;
    alive++;
    began_on = pthread_self();
    mp_call_set_state(call, &begun);
    return MP_OK;
}
MP_TASK(begin, mp_none, mp_none);

static mp_status finish(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    ended++;
    alive--;
    return MP_OK;
}
MP_TASK(finish, mp_none, mp_none);

static mp_status living(const int *in, int *out, mp_call *call)
{
    *out = *in + begun;
    return alive && mp_call_state(call) == &begun && !mp_call_worker(call) ? MP_OK : MP_EFAILED;
}
MP_TASK(living, int, int);

CHECK(life, initializer_and_finalizer__run_on_the_thread_that_opens_and_closes)
{
    mp_pool *pool = OPEN(.initializer = MP_HOOK(begin, NULL), .finalizer = MP_HOOK(finish, NULL));
    cr_assert(eq(int, begun, 1));
    cr_assert(pthread_equal(began_on, pthread_self()));
    cr_assert(eq(int, mp_pool_map(pool, living, items, N, results), MP_OK));
    cr_assert(zero(int, ended));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, ended, 1));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_apply(pool, living, items, results), MP_ECLOSED));
    mp_pool_free(&pool);
}

CHECK(life, maxtasksperchild__is_a_new_life)
{
    mp_pool *pool = OPEN(.maxtasksperchild = 10, .initializer = MP_HOOK(begin, NULL), .finalizer = MP_HOOK(finish, NULL));
    cr_assert(eq(int, mp_pool_map(pool, living, items, N, results), MP_OK));
    for (int i = 0; i < 5; i++)
        cr_assert(eq(int, mp_pool_apply(pool, living, items, results), MP_OK));
    cr_assert(ge(int, begun, N / 10));
    mp_pool_free(&pool);
    cr_assert(eq(int, ended, begun));
}

static mp_status refuse(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    return mp_fail(call, MP_EFAILED, "not today");
}
MP_TASK(refuse, mp_none, mp_none);

CHECK(life, failing_initializer__fails_the_opening)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(
        eq(int, mp_pool_open(&pool, .kind = MP_SERIAL, .initializer = MP_HOOK(refuse, NULL), .error = &error), MP_EFAILED));
    cr_assert(says(&error, "not today"), "%s", error.message);
    cr_assert_null(pool);
}

/* ---- ends ---- */

static sem_t started;

static mp_status see_cancel(const int *in, int *out, mp_call *call)
{
    *out = *in;
    sem_post(&started);
    while (!mp_call_cancelled(call))
        nap_us(200);
    return MP_OK;
}
MP_TASK(see_cancel, int, int);

static void *terminate_soon(void *pool)
{
    sem_wait(&started);
    return mp_pool_terminate(pool) == MP_OK ? NULL : "wrong";
}

CHECK(end, terminate_by_another_thread__ends_what_waits)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    pthread_t thread;
    void *wrong;
    sem_init(&started, 0, 0);
    cr_assert(zero(int, pthread_create(&thread, NULL, terminate_soon, pool)));
    cr_assert(
        eq(int, mp_pool_map(pool, see_cancel, items, N, results, .chunksize = 1, .statuses = statuses), MP_ETERMINATED));
    for (int i = 1; i < N; i++)
        cr_assert(eq(int, statuses[i], MP_ETERMINATED));
    pthread_join(thread, &wrong);
    cr_assert_null(wrong);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
}

static mp_status interrupt(const int *in, int *out, mp_call *call)
{
    *out = *in;
    ran++;
    mp_interrupt();
    while (!mp_call_cancelled(call))
        nap_us(200);
    return MP_OK;
}
MP_TASK(interrupt, int, int);

CHECK(end, interrupted__starts_nothing_more)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    ran = 0;
    cr_assert(eq(int, mp_pool_map(pool, interrupt, items, N, results, .statuses = statuses), MP_EINTERRUPTED));
    cr_assert(eq(int, ran, 1));
    cr_assert(eq(int, statuses[0], MP_OK));
    cr_assert(eq(int, statuses[1], MP_EINTERRUPTED));
    mp_interrupt_clear();
    mp_pool_free(&pool);
}

CHECK(end, unread_stream__is_run_to_its_end_by_join)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    int got, sum = 0;
    mp_iter *iter = mp_pool_imap(pool, living, items, N, .buffersize = 2);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    while (mp_iter_next(iter, &got, 0) != MP_END)
        sum++;
    cr_assert(eq(int, sum, N));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static mp_status mask_of(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    *out = sigismember(&mask, SIGUSR1) + 10 * sigismember(&mask, SIGUSR2);
    return MP_OK;
}
MP_TASK(mask_of, int, int);

CHECK(end, tasks__have_their_callers_signals)
{
    mp_pool *pool = OPEN(.spin = MP_NO_SPIN);
    sigset_t mask, before;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    cr_assert(eq(int, mp_pool_apply(pool, mask_of, items, results), MP_OK));
    cr_assert(eq(int, results[0], 10));
    mp_async *call = mp_pool_apply_async(pool, mask_of, items);
    cr_assert(eq(int, mp_async_get(call, results, 0), MP_OK));
    cr_assert(eq(int, results[0], 10));
    mp_async_free(&call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    mp_pool_free(&pool);
}

/* That is what it is for: a debugger stops there. A sanitizer's crash leaves children of its own. */
Test(end, crash__is_the_programs)
{
    char said[4096];
    int status = spawn_run("HELPER_SERIAL", "crash", NULL, said, sizeof said);
    cr_assert(CHECK_ASAN || CHECK_TSAN || signaled(status, SIGSEGV), "%s", said);
    status = spawn_run("HELPER_SERIAL", "exit", NULL, said, sizeof said);
    cr_assert(signaled(status, SIGABRT), "%s", said);
    cr_assert(eq(int, count_of(said, "pthread_exit"), 1), "%s", said);
}

/* ---- what it cannot have ---- */

static void expect_refused(mp_pool_options options, const char *text)
{
    mp_pool *pool;
    mp_error error;
    options.kind = MP_SERIAL;
    options.error = &error;
    cr_assert(eq(int, mp_pool_open_with(&pool, &options), MP_EINVAL));
    cr_assert(says(&error, text), "%s", error.message);
}

CHECK(refused, what_only_processes_have__is_said)
{
    expect_refused((mp_pool_options){.start_method = MP_SPAWN}, ".start_method");
    expect_refused((mp_pool_options){.maxrss = 1 << 30}, ".maxrss");
    expect_refused((mp_pool_options){.output = MP_OUTPUT_CAPTURE}, ".output");
    expect_refused((mp_pool_options){.limits.cpu_time = 1}, ".limits");
    expect_refused((mp_pool_options){.processes = -1}, ".processes");
}

/* ---- what is taken back just when its worker looks for it ---- */

static atomic_bool goes_on;
static mp_pool *shared_pool;

static mp_status give_back(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(give_back, int, int);

static void *submit_and_cancel(void *argument)
{
    int one = 1;
    while (goes_on) {
        mp_async *async = mp_pool_apply_async(shared_pool, give_back, &one);
        mp_async_cancel(async);
        mp_async_free(&async);
    }
    return argument;
}

CHECK(life, cancelled_by_another_thread__the_worker_stays)
{
    pthread_t thread;
    mp_pool_stats stats;
    shared_pool = OPEN(.spin = MP_NO_SPIN);
    goes_on = true;
    cr_assert(zero(int, pthread_create(&thread, NULL, submit_and_cancel, NULL)));
    for (int round = 0; round < ROUNDS(20000); round++)
        cr_assert(eq(int, mp_pool_map(shared_pool, give_back, items, 3, results), MP_OK));
    goes_on = false;
    pthread_join(thread, NULL);
    cr_assert(eq(int, mp_pool_get_stats(shared_pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.started, 1));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&shared_pool);
}
