/* Calls that sleep for a single result, of which their worker tells them itself: whatever happens meanwhile, each has its own result or
 * its own failure, nobody is woken for nothing, and signals come in. Nothing here stays awake (`.spin`): test_spin.c has those. */
#include "pool/system.h"
#include "tests/lib/applies.h"
#include "tests/lib/proc.h"
#include <pthread.h>

TestSuite(doze, .timeout = 60);
TestSuite(doze_trouble, .timeout = 60);

static mp_pool *open_pool(int processes)
{
    return OPEN_POOL(.processes = processes, .spin = MP_NO_SPIN);
}

/* ---- what it spares ---- */

static mp__system_calls real;
static _Atomic int reads; /* of the program's */

static ssize_t count_read(int fd, void *bytes, size_t size)
{
    reads++;
    return real.read(fd, bytes, size);
}

/* The result is taken from the worker's memory; only where the machine is so busy that we do not come to look in a millisecond it is
 * written into the pipe as well. */
EACH_PROCESS_KIND(doze, a_single_result__does_not_come_through_the_pipe)
{
    real = mp__system;
    mp__system.read = count_read;
    mp_pool *pool = open_pool(2);
    int before = reads;
    for (int i = 0; i < APPLIES; i++)
        apply_one(pool, i);
    cr_assert(lt(int, reads - before, APPLIES / 2));
    close_join_free(&pool);
    mp__system = real;
}

/* ---- whose result it is ---- */

EACH_KIND(doze, results_of_any_size__come_whole)
{
    mp_pool *pool = open_pool(1);
    apply_of_any_size(pool);
    close_join_free(&pool);
}

EACH_KIND(doze, failures_among_them__are_their_own)
{
    mp_pool *pool = open_pool(2);
    apply_with_failures(pool);
    close_join_free(&pool);
}

/* One sleeps for the worker's word; what the others have sent behind that comes by it too, or through the pipe, in front of it or
 * behind. None of it is left lying. */
static void apply_together(int threads, int workers)
{
    mp_pool *pool = open_pool(workers);
    apply_from_threads(pool, threads);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(doze, two_threads_on_one_worker__each_has_its_own)
{
    apply_together(2, 1);
}

EACH_PROCESS_KIND(doze, four_threads_on_two_workers__each_has_its_own)
{
    apply_together(4, 2);
}

/* What others post, cancel and ask meanwhile is not held up. */
EACH_PROCESS_KIND(doze, calls_of_others__are_not_held_up)
{
    mp_pool *pool = open_pool(2);
    apply_among_others(pool);
    close_join_free(&pool);
}

/* ---- how long ---- */

static board *handlers; /* the board, which a handler cannot look for */

static void let_go(int signal)
{
    (void)signal;
    handlers->word[LET] = INT_MAX;
}

/* The item ends because the handler has run, on the only thread that has not blocked the signal. */
EACH_PROCESS_KIND(doze, a_signal__is_handled_while_the_call_waits)
{
    mp_pool *pool = open_pool(1);
    int zero = 0, out;
    handlers = the_board();
    signal(SIGALRM, let_go);
    for (int i = 0; i < 3; i++) {
        LET_GO(0);
        ualarm(20000, 0);
        cr_assert(eq(int, mp_pool_apply(pool, latch, &zero, &out), MP_OK));
    }
    signal(SIGALRM, SIG_DFL);
    close_join_free(&pool);
}

static void pass_by(int number)
{
    (void)number;
}

static bool all_done(const applier all[4])
{
    for (int k = 0; k < 4; k++)
        if (all[k].done < ROUNDS(APPLIES))
            return false;
    return true;
}

/* Who is woken for nothing, by a signal, waits otherwise from then on; and has its result while another one sleeps, to whom it must
 * leave the word. */
EACH_PROCESS_KIND(doze, signals_among_several__leave_each_its_own)
{
    mp_pool *pool = open_pool(1);
    applier all[4] = {{.pool = pool}, {.pool = pool}, {.pool = pool}, {.pool = pool}};
    signal(SIGUSR1, pass_by);
    for (int k = 0; k < 4; k++)
        cr_assert(zero(int, pthread_create(&all[k].thread, NULL, apply_many, &all[k])));
    for (int i = 0; !all_done(all); i++) {
        pthread_kill(all[i % 4].thread, SIGUSR1);
        nap_us(i % 50);
    }
    for (int k = 0; k < 4; k++) {
        pthread_join(all[k].thread, NULL);
        cr_assert(zero(int, all[k].wrong));
    }
    signal(SIGUSR1, SIG_DFL);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(doze, a_time_out_of_the_wait__is_kept)
{
    const double waits[] = {0, 0.001, 0.004, 0.006, 0.05};
    mp_pool *pool = open_pool(1);
    int zero = 0, out;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        LET_GO(0);
        mp_async *async = mp_pool_apply_async(pool, latch, &zero);
        double begin = seconds_now();
        cr_assert(eq(int, mp_async_get(async, &out, waits[i]), MP_ETIMEDOUT));
        cr_assert(ge(dbl, seconds_now() - begin, waits[i]));
        LET_ALL_GO();
        cr_assert(eq(int, mp_async_get(async, &out, PROMPT), MP_OK));
        cr_assert(eq(int, out, 1));
        mp_async_free(&async);
        apply_one(pool, (int)i);
    }
    close_join_free(&pool);
}

EACH_PROCESS_KIND(doze, an_item_that_hangs__ends_by_its_time_out)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = MP_NO_SPIN, .grace = 0.05);
    for (int i = 0; i < few_lives(10); i++) {
        int held = 1, out = -77;
        apply_one(pool, i);
        cr_assert(eq(int, mp_pool_apply(pool, hold, &held, &out, .timeout = 0.05), MP_ETIMEDOUT));
        cr_assert(zero(int, out));
    }
    apply_one(pool, 1);
    close_join_free(&pool);
}

/* ---- trouble ---- */

EACH_PROCESS_KIND(doze_trouble, a_worker_that_is_killed_by_its_item__costs_that_item)
{
    mp_pool *pool = open_pool(1);
    for (int i = 0; i < few_lives(60); i++) {
        int zero = 0, out = -77;
        for (int k = 0; k < i % 5; k++)
            apply_one(pool, k);
        cr_assert(eq(int, mp_pool_apply(pool, die, &zero, &out), MP_ECRASHED));
        cr_assert(zero(int, out));
    }
    apply_one(pool, 1);
    close_join_free(&pool);
}

typedef struct ender {
    pthread_t thread;
    mp_pool *pool;
    pid_t zygote; /* 0: the pool is terminated */
} ender;

static void *end_pool(void *argument)
{
    ender *me = argument;
    if (!UNTIL(PROMPT, the_board()->begun > 0))
        return NULL;
    nap_us(10000);
    if (me->zygote)
        proc_signal_child(getpid(), me->zygote, SIGKILL);
    else
        (void)mp_pool_terminate(me->pool);
    return NULL;
}

/* While somebody sleeps for an item that never ends. */
static void end_while_asleep(bool zygote, mp_status wanted, mp_status or_else)
{
    int number = INT_MAX, out = -77;
    ender one = {.pool = open_pool(2)};
    one.zygote = zygote ? proc_only_child() : 0;
    LET_GO(0);
    cr_assert(zero(int, pthread_create(&one.thread, NULL, end_pool, &one)));
    mp_status status = mp_pool_apply(one.pool, latch, &number, &out);
    cr_assert(status == wanted || status == or_else, "%s", mp_status_name(status));
    pthread_join(one.thread, NULL);
    mp_pool_free(&one.pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0)); /* workers of a zygote that was killed have come to us */
}

EACH_PROCESS_KIND(doze_trouble, the_pool_is_terminated__the_call_returns)
{
    end_while_asleep(false, MP_ETERMINATED, MP_ETERMINATED);
}

EACH_PROCESS_KIND(doze_trouble, the_zygote_is_killed__the_call_returns)
{
    end_while_asleep(true, MP_ECRASHED, MP_EBROKEN);
}
