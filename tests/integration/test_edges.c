/* Time-outs, retries, records, captured output and Ctrl-C where they meet each other, and the ends of things: what a reading of the
 * engine found. */
#include "pool/dispatch_state.h"
#include "pool/pool.h"
#include "pool/system.h"
#include "tests/lib/kinds.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

TestSuite(edges, .timeout = 60);

static mp_status stay(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    for (;;)
        nap_us(10000);
    *out = *in;
    return MP_OK;
}
MP_TASK(stay, int, int);

/* More than is kept of one item. */
static mp_status print_much(const int *in, int *out, mp_call *call)
{
    static char text[100000];
    (void)call;
    memset(text, 'x', sizeof text);
    fwrite(text, 1, sizeof text, stdout);
    *out = *in;
    return MP_OK;
}
MP_TASK(print_much, int, int);

static mp_status print_and_fail(const int *in, int *out, mp_call *call)
{
    (void)out;
    printf("item %d is about to fail\n", *in);
    fprintf(stderr, "item %d has no luck\n", *in);
    return mp_fail(call, MP_EFAILED, "no luck");
}
MP_TASK(print_and_fail, int, int);

static mp_status print_and_refuse(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    printf("the initializer says why\n");
    return mp_fail(call, MP_EFAILED, "not today");
}
MP_TASK(print_and_refuse, mp_none, mp_none);

/* --- counts -------------------------------------------------------------------------------------------------------------- */

EVERY_KIND(edges, retries__are_counted)
{
    const int items[2] = {-1, 1};
    int results[2];
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_expect(eq(int, mp_pool_map(pool, fail_some, items, 2, results, .retries = 2), MP_EUSER + 1));
    cr_expect(eq(u64, stats_of(pool).retried, 2));
    cr_expect(eq(u64, stats_of(pool).recycled, 0));
    close_join_free(&pool);
}

EACH_PROCESS_KIND(edges, lives_that_had_their_items__are_counted)
{
    int items[3] = {0, 1, 2}, results[3];
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxtasksperchild = 1);
    cr_expect(eq(int, mp_pool_map(pool, add_one, items, 3, results), MP_OK));
    cr_expect(eq(u64, stats_of(pool).recycled, 3));
    close_join_free(&pool);
}

/* Every worker has more than a byte, also before its first item. */
EACH_PROCESS_KIND(edges, workers_too_large_from_the_beginning__run_an_item_each)
{
    int items[3] = {0, 1, 2}, results[3];
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxrss = 1);
    cr_expect(eq(int, mp_pool_map(pool, add_one, items, 3, results), MP_OK));
    cr_expect(eq(int, find_wrong(results, 3), 3));
    cr_expect(le(u64, stats_of(pool).recycled, 3));
    close_join_free(&pool);
}

/* --- what errors say ----------------------------------------------------------------------------------------------------- */

EACH_PROCESS_KIND(edges, deadline__item_that_runs__is_said_to_have_met_it)
{
    const int item = 1;
    int result;
    mp_error error;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_expect(eq(int, mp_pool_map(pool, stay, &item, 1, &result, .deadline = 0.2, .error = &error), MP_ETIMEDOUT));
    cr_expect(strstr(error.message, "deadline") != NULL, "%s", error.message);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(edges, timeout__item_that_runs__is_said_to_have_met_it)
{
    const int item = 1;
    int result;
    mp_error error;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_expect(eq(int, mp_pool_map(pool, stay, &item, 1, &result, .timeout = 0.1, .deadline = 3600, .error = &error),
                 MP_ETIMEDOUT));
    cr_expect(strstr(error.message, ".timeout of 0.1 s") != NULL, "%s", error.message);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(edges, item_cancelled_by_force__has_no_record)
{
    const int item = 1;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *call = mp_pool_map_async(pool, stay, &item, 1);
    cr_assert(SOON(the_board()->begun == 1));
    cr_expect(eq(int, mp_async_cancel(call, .force = true), MP_OK));
    cr_expect(eq(int, mp_async_wait(call, PROMPT), MP_OK));
    cr_expect(eq(int, mp_async_error(call)->status, MP_ECANCELLED));
    cr_expect(eq(u64, mp_async_error(call)->record, 0));
    mp_async_free(&call);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(edges, item_that_fails__has_what_it_printed_in_its_record)
{
    const int item = 7;
    int result;
    mp_error error;
    mp_pool *pool = OPEN_POOL(.processes = 1, .output = MP_OUTPUT_CAPTURE);
    cr_expect(eq(int, mp_pool_map(pool, print_and_fail, &item, 1, &result, .error = &error), MP_EFAILED));
    const mp_record *record = mp_error_record(&error);
    cr_assert(record != NULL);
    cr_expect(eq(str, (char *)(uintptr_t)record->output, "item 7 is about to fail\n"));
    cr_expect(eq(str, (char *)(uintptr_t)record->errors, "item 7 has no luck\n"));
    mp_record_free(&record);
    cr_expect(eq(int, mp_pool_map(pool, fail_some, &(int){-1}, 1, &result, .error = &error), MP_EUSER + 1));
    record = mp_error_record(&error);
    cr_assert(record != NULL);
    cr_expect(eq(sz, record->output_size, 0), "that of another item");
    mp_record_free(&record);
    close_join_free(&pool);
}

/* --- captured output ----------------------------------------------------------------------------------------------------- */

/* Runs `child` in a child, whose standard output goes into a pipe. */
static int in_child(void (*child)(int reads), int *status)
{
    int ends[2];
    cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        child(ends[0]);
        fflush(stdout);
        _exit(9);
    }
    close(ends[1]);
    waitpid(pid, status, 0);
    return ends[0];
}

static void open_in_vain(int reads)
{
    static const mp_none nothing;
    mp_pool *pool;
    (void)reads;
    alarm(PROMPT);
    mp_status status = mp_pool_open(&pool, OPTIONS, .processes = 1, .output = MP_OUTPUT_CAPTURE,
                                    .initializer = MP_HOOK(print_and_refuse, &nothing));
    _exit(status == MP_EFAILED ? 0 : 1);
}

EACH_PROCESS_KIND(edges, initializer_that_fails__what_it_printed_is_printed)
{
    char text[100] = "";
    int status, reads = in_child(open_in_vain, &status);
    cr_expect(exited(status, 0));
    ssize_t got = read(reads, text, sizeof text - 1);
    cr_expect(gt(int, (int)got, 0));
    cr_expect(eq(str, text, "the initializer says why\n"));
    close(reads);
}

static int threads_left;

static int make_few(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    return threads_left-- > 0 ? pthread_create(thread, attributes, run, argument) : EAGAIN;
}

EACH_PROCESS_KIND(edges, open_with_captured_output__without_threads__fails)
{
    mp_pool *pool;
    mp__system.pthread_create = make_few;
    for (int n = 0; n < 2; n++) {
        threads_left = n;
        cr_expect(eq(int, mp_pool_open(&pool, OPTIONS, .processes = 1, .output = MP_OUTPUT_CAPTURE), MP_ESYSTEM));
    }
    mp__system.pthread_create = pthread_create;
}

/* Dies of its result, when what it has printed is written down already. */
static mp_status print_and_point_astray(const int *in, mp_str *out, mp_call *call)
{
    (void)call;
    printf("item %d was here\n", *in);
    *out = (mp_str){(char *)8, 100};
    return MP_OK;
}
MP_TASK(print_and_point_astray, int, mp_str);

static void crash_of_result(int reads)
{
    const int item = 3;
    mp_str result;
    mp_pool *pool;
    mp_error error;
    (void)reads;
    alarm(PROMPT);
    if (mp_pool_open(&pool, OPTIONS, .processes = 1, .output = MP_OUTPUT_CAPTURE) != MP_OK)
        _exit(1);
    mp_status status = mp_pool_map(pool, print_and_point_astray, &item, 1, &result, .error = &error);
    const mp_record *record = mp_error_record(&error);
    bool kept = record && !strcmp(record->output, "item 3 was here\n");
    mp_record_free(&record);
    mp_pool_free(&pool);
    _exit(status != MP_ECRASHED ? 2 : kept ? 0 : 3);
}

EACH_PROCESS_KIND(edges, worker_that_dies_of_its_result__has_printed_once)
{
    char text[100] = "";
    int status, reads = in_child(crash_of_result, &status);
    cr_expect(exited(status, 0), "%d", status);
    cr_expect(gt(int, (int)read(reads, text, sizeof text - 1), 0));
    cr_expect(eq(str, text, "item 3 was here\n"));
    close(reads);
}

/* So much waits to be printed that nothing is sent; when it has been printed an item that hangs is, and nobody but its time-out will
 * end it. */
static void hang_behind_output(int reads)
{
    enum { N = 128 };
    static int items[N], results[N];
    static char text[1 << 16];
    mp_pool *pool;
    alarm(PROMPT);
    if (mp_pool_open(&pool, OPTIONS, .processes = 1, .output = MP_OUTPUT_CAPTURE) != MP_OK ||
        mp_pool_map(pool, print_much, items, N, results) != MP_OK)
        _exit(1);
    mp_async *call = mp_pool_map_async(pool, stay, items, 1, .timeout = 0.2);
    if (the_board()->begun)
        _exit(2);
    fcntl(reads, F_SETFL, O_NONBLOCK);
    while (!mp_async_ready(call))
        if (read(reads, text, sizeof text) < 0)
            nap_us(1000);
    _exit(mp_async_error(call)->status == MP_EOVERTIME ? 0 : 3);
}

EACH_PROCESS_KIND(edges, item_sent_when_output_has_been_printed__is_timed)
{
    int status, reads = in_child(hang_behind_output, &status);
    cr_expect(exited(status, 0), "%d", status);
    close(reads);
    leftovers_reap(PROMPT);
}

/* --- Ctrl-C -------------------------------------------------------------------------------------------------------------- */

static bool is_silent(const mp_pool *pool)
{
    struct pollfd fd = {.fd = pool->dispatch->events, .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

EVERY_KIND(edges, pool_opened_after_an_interrupt__sleeps)
{
    mp_pool *old = OPEN_POOL(.processes = 1);
    mp_interrupt();
    mp_interrupt_clear();
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_expect(SOON(is_silent(old)));
    cr_expect(SOON(is_silent(pool)), "who drives it would never sleep");
    close_join_free(&pool);
    close_join_free(&old);
}

EACH_KIND(edges, interrupt_that_is_cleared_at_once__has_stopped_what_was_there)
{
    enum { N = 10 };
    int items[N], results[N];
    fill(items, N);
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *call = mp_pool_map_async(pool, hold, items, N);
    cr_assert(SOON(the_board()->begun == 1));
    mp_interrupt();
    mp_interrupt_clear();
    mp_async *later = mp_pool_map_async(pool, add_one, items, N);
    the_board()->gate = 1;
    cr_expect(eq(int, mp_async_get(call, results, PROMPT), MP_EINTERRUPTED));
    cr_expect(eq(int, mp_async_statuses(call)[0], MP_OK));
    cr_expect(eq(int, mp_async_statuses(call)[N - 1], MP_EINTERRUPTED));
    cr_expect(eq(int, mp_async_get(later, results, PROMPT), MP_OK), "it came behind that");
    mp_async_free(&call);
    mp_async_free(&later);
    close_join_free(&pool);
}

static _Atomic int eventfds, stuck;

/* The second one of an opening is that of Ctrl-C. */
static int get_stuck(unsigned count, int flags)
{
    if (++eventfds == 2) {
        stuck = 1;
        (void)UNTIL(0.5, !stuck); /* a fork may have to wait for us */
    }
    return eventfd(count, flags);
}

static void *open_and_free(void *unused)
{
    mp_pool *pool;
    if (mp_pool_open(&pool, .kind = MP_THREADS, .processes = 1) == MP_OK)
        mp_pool_free(&pool);
    return unused;
}

/* The fork waits for the lock, and the thread goes on to allocate just then: gcc 12's AddressSanitizer does not keep its own locks through a
 * fork, and the child may wait for them for ever. */
CHECK(edges, child_forked_while_a_pool_is_opened__opens_one, .disabled = CHECK_ASAN)
{
    pthread_t thread;
    int status;
    eventfds = 0;
    mp__system.eventfd = get_stuck;
    cr_assert(eq(int, pthread_create(&thread, NULL, open_and_free, NULL), 0));
    cr_assert(SOON(stuck));
    pid_t pid = fork(); /* or later, when the thread is through */
    if (pid == 0) {
        mp__system.eventfd = eventfd;
        open_and_free(NULL);
        _exit(0);
    }
    stuck = 0;
    pthread_join(thread, NULL);
    mp__system.eventfd = eventfd;
    cr_expect(SOON(waitpid(pid, &status, WNOHANG) == pid) && exited(status, 0));
}

static void *interrupt_again_and_again(void *unused)
{
    for (unsigned n = 0; !stuck; n++) {
        for (volatile unsigned i = 0; i < n * 7919 % 100000; i++)
            ;
        mp_interrupt();
        for (volatile unsigned i = 0; i < n * 7907 % 10000; i++)
            ;
        mp_interrupt_clear();
    }
    return unused;
}

/* All workers have their item, or none has. */
CHECK(edges, broadcast__interrupted_while_it_is_submitted__is_whole_or_refused)
{
    enum { N = 200, MANY = 400 };
    mp_pool *pool;
    pthread_t thread;
    int items = 1, results[N];
    cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_THREADS, .processes = N), MP_OK));
    stuck = 0;
    cr_assert(eq(int, pthread_create(&thread, NULL, interrupt_again_and_again, NULL), 0));
    for (int round = 0; round < ROUNDS(MANY); round++) {
        mp_error error;
        mp_status status = mp_pool_broadcast(pool, add_one, &items, results, N, .error = &error);
        cr_assert(status == MP_OK || status == MP_EINTERRUPTED, "%s", error.message);
    }
    stuck = 1;
    pthread_join(thread, NULL);
    mp_pool_stats stats = stats_of(pool);
    cr_expect(eq(u64, stats.accepted % N, 0));
    cr_expect(eq(u64, stats.pending, 0));
    close_join_free(&pool);
}

/* --- limits -------------------------------------------------------------------------------------------------------------- */

EACH_PROCESS_KIND(edges, limit_that_is_none__is_none)
{
    int item = 50000000;
    mp_str result;
    mp_pool *pool = OPEN_POOL(.processes = 1, .limits = {.cpu_time = UINT64_MAX, .address_space = UINT64_MAX});
    cr_expect(eq(int, mp_pool_map(pool, tell_text, &item, 1, &result), MP_OK));
    mp_free(mp_str, &result, 1);
    close_join_free(&pool);
}
