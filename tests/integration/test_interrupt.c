/* Ctrl-C: SIGINT to the process group of a program that runs a pool, as a terminal sends it. The program is a forked child of the
 * test, head of a group of its own; it says what it has seen by its exit code, 0 when all was right. */
#include "pool/system.h"
#include "tests/lib/program.h"
#include "tests/lib/stuck.h"

TestSuite(first, .timeout = 60);
TestSuite(second, .timeout = 60);
TestSuite(handler, .timeout = 60);

enum { READY = 12 /* the board's word with which the program says that the test may go on */ };

static mp_pool *the_pool;

static void open_two(mp_interrupt_action action)
{
    MUST(mp_pool_open(&the_pool, OPTIONS, .processes = 2, .grace = 0.2, .interrupt = action) == MP_OK);
}

/* Ten are done, two run and heed, 28 wait: which of those, the board knows. */
static void prepare(void)
{
    trial_begin(40);
    for (int i = 10; i < 40; i++)
        one_is(i, HEEDS);
}
enum { UNDER_WAY = 12 };

static void check_partial_results(void)
{
    MUST(t.status == MP_EINTERRUPTED);
    MUST(t.error.status == MP_EINTERRUPTED && t.error.message[0]);
    MUST(t.error.item == board_find_other(40, 1));
    for (int i = 0; i < 40; i++) {
        bool ran = the_board()->times[i];
        MUST(ran || i >= 10);
        MUST(t.statuses[i] == (ran ? MP_OK : MP_EINTERRUPTED));
        MUST(t.results[i] == (i < 10 ? i + 1 : ran ? -i - 1 : 0));
        MUST(t.errors[i].status == t.statuses[i]);
    }
    MUST(the_board()->begun == UNDER_WAY);
}

static void map_and_look(void)
{
    RUN(the_pool, .chunksize = 1);
    check_partial_results();
    MUST(mp_interrupted());
}

/* ---- the first ---- */

static void maps(void)
{
    open_two(MP_INTERRUPT_STOP);
    MUST(!mp_interrupted());
    map_and_look();
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_EINTERRUPTED);
    MUST(t.statuses[0] == MP_EINTERRUPTED);
    MUST(the_board()->begun == UNDER_WAY);
    mp_pool_free(&the_pool);
}

EACH_KIND(first, while_a_map_runs__it_returns_what_is_done)
{
    prepare();
    pid_t program = program_begin(maps, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY));
    program_press(program);
    EXPECT_GOOD_END(program);
}

static void maps_in_one_chunk(void)
{
    MUST(mp_pool_open(&the_pool, OPTIONS, .processes = 1) == MP_OK);
    RUN(the_pool, .chunksize = 40);
    MUST(t.status == MP_EINTERRUPTED);
    for (int i = 0; i < 40; i++)
        MUST(t.statuses[i] == (i <= 10 ? MP_OK : MP_EINTERRUPTED));
    MUST(the_board()->begun == 11);
    mp_pool_free(&the_pool);
}

EVERY_KIND(first, while_a_chunk_runs__the_rest_of_it_is_interrupted)
{
    prepare();
    pid_t program = program_begin(maps_in_one_chunk, -1);
    cr_assert(SOON(the_board()->begun == 11));
    program_press(program);
    EXPECT_GOOD_END(program);
}

static atomic_bool presses;

static ssize_t write_and_press(int fd, const struct iovec *pieces, int count)
{
    ssize_t written = writev(fd, pieces, count);
    if (atomic_exchange(&presses, false))
        raise(SIGINT);
    return written;
}

static void is_pressed_while_it_sends(void)
{
    mp__system.writev = write_and_press;
    open_two(MP_INTERRUPT_STOP);
    presses = true;
    RUN(the_pool, .chunksize = 1);
    MUST(!presses);
    MUST(t.status == MP_EINTERRUPTED);
    MUST(mp_interrupted());
    mp_pool_free(&the_pool);
}

/* The caller is still in the middle of handing its items out: a worker may have begun the first, so they are under way. */
EACH_PROCESS_KIND(first, while_the_items_are_sent__is_the_pools)
{
    prepare();
    pid_t program = program_begin(is_pressed_while_it_sends, -1);
    EXPECT_GOOD_END(program);
}

static void idles(void)
{
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .chunksize = 0);
    MUST(t.status == MP_OK);
    the_board()->word[READY] = 1;
    for (;;)
        pause();
}

/* Not under TSan: in a child that was forked from a process with threads, as these programs are, it takes signals and keeps them, and
 * a thread that sleeps never gets them. */
EACH_KIND_UNLESS(CHECK_TSAN, first, while_nothing_is_under_way__ends_the_program)
{
    trial_begin(20);
    pid_t program = program_begin(idles, -1);
    cr_assert(SOON(the_board()->word[READY]));
    program_press(program);
    EXPECT_INTERRUPTED(program);
}

static void times_out(void)
{
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .timeout = 1.0, .chunksize = 1);
    MUST(t.status == MP_ETIMEDOUT);
    for (int i = 0; i < 10; i++)
        MUST(t.statuses[i] == (the_board()->times[i] ? MP_ETIMEDOUT : MP_EINTERRUPTED));
    MUST(the_board()->begun == 2);
    mp_pool_free(&the_pool);
}

EACH_PROCESS_KIND(first, hung_items__still_have_their_time_out)
{
    trial_begin(10);
    all_are(HANGS);
    pid_t program = program_begin(times_out, -1);
    cr_assert(SOON(the_board()->begun == 2));
    program_press(program);
    EXPECT_GOOD_END(program);
}

/* A minute until the next attempt: nobody waits for that. */
static void waits_for_a_retry(void)
{
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .retries = 1, .retry_delay = 60);
    MUST(t.status != MP_OK);
    MUST(t.statuses[0] != MP_OK && t.statuses[1] == MP_OK);
    MUST(the_board()->begun == 3);
    mp_pool_free(&the_pool);
}

EVERY_KIND(first, while_an_item_waits_for_its_retry__the_map_returns)
{
    if (CHECK_TSAN && how.kind == MP_SERIAL)
        cr_skip_test("it sleeps on a condition variable, where TSan keeps the signal: see above");
    trial_begin(3);
    one_is(0, FAILS);
    pid_t program = program_begin(waits_for_a_retry, -1);
    cr_assert(SOON(the_board()->ended == 3));
    program_press(program);
    EXPECT_GOOD_END(program);
}

/* Not even where it is in the same terminal. */
static mp_status tell_group(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    struct sigaction now;
    sigaction(SIGINT, NULL, &now);
    *out = now.sa_handler == SIG_IGN ? getpgrp() : -1;
    return MP_OK;
}
MP_TASK(tell_group, int, int);

EACH_PROCESS_KIND(first, workers__never_get_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int group = 0;
    cr_assert(eq(int, mp_pool_apply(pool, tell_group, &group, &group), MP_OK));
    cr_assert(gt(int, group, 0));
    cr_assert(ne(int, group, (int)getpgrp()));
    close_join_free(&pool);
}

/* ---- the second ---- */

static void maps_for_ever(void)
{
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .chunksize = 1);
}

EACH_KIND(second, while_tasks_go_on__ends_the_program_and_all_it_has_started)
{
    trial_begin(10);
    all_are(LOOKS);
    pid_t program = program_begin(maps_for_ever, -1);
    cr_assert(SOON(the_board()->begun == 2));
    program_press(program);
    cr_assert(SOON(the_board()->word[SAW] == 2));
    cr_assert(proc_lives(program));
    program_press(program);
    EXPECT_INTERRUPTED(program);
    cr_assert(eq(int, the_board()->begun, 2));
}

EACH_PROCESS_KIND(second, while_tasks_block_all_signals__ends_all)
{
    trial_begin(10);
    all_are(BLOCKS);
    one_is(0, LOOKS);
    pid_t program = program_begin(maps_for_ever, -1);
    cr_assert(SOON(the_board()->begun == 2));
    program_press(program);
    cr_assert(SOON(the_board()->word[SAW] == 1));
    program_press(program);
    EXPECT_INTERRUPTED(program);
}

static void goes_on_at_once(void)
{
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .chunksize = 1);
    the_board()->word[READY] = 1;
    for (;;)
        pause();
}

/* Not under TSan: in a child that was forked from a process with threads, as these programs are, it takes signals and keeps them, and
 * a thread that sleeps never gets them. */
EACH_KIND_UNLESS(CHECK_TSAN, second, right_after_calls_have_returned__ends_the_program)
{
    prepare();
    pid_t program = program_begin(goes_on_at_once, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY));
    program_press(program);
    cr_assert(SOON(the_board()->word[READY]));
    program_press(program);
    EXPECT_INTERRUPTED(program);
}

/* ---- handlers and other settings ---- */

static void call_mp_interrupt(int number)
{
    (void)number;
    board_here->word[CAUGHT]++;
    mp_interrupt(); // NOLINT(bugprone-signal-handler): that is what it is for
}
static void only_note(int number)
{
    (void)number;
    board_here->word[CAUGHT]++;
}

static bool is_handler(void (*handler)(int))
{
    struct sigaction now;
    return sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == handler;
}

static void has_a_handler(void)
{
    signal(SIGINT, call_mp_interrupt);
    open_two(MP_INTERRUPT_STOP);
    MUST(is_handler(call_mp_interrupt));
    map_and_look();
    mp_pool_free(&the_pool);
    MUST(is_handler(call_mp_interrupt));
    MUST(the_board()->word[CAUGHT] == 1);
}

EACH_KIND(handler, of_the_program__stays_and_may_call_mp_interrupt)
{
    prepare();
    pid_t program = program_begin(has_a_handler, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY));
    program_press(program);
    EXPECT_GOOD_END(program);
}

static void has_another_handler(void)
{
    signal(SIGINT, only_note);
    open_two(MP_INTERRUPT_STOP);
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_OK && !mp_interrupted());
    mp_pool_free(&the_pool);
    MUST(is_handler(only_note));
}

EACH_KIND(handler, of_the_program_that_does_nothing__changes_nothing)
{
    trial_begin(10);
    one_is(3, LOOKS);
    pid_t program = program_begin(has_another_handler, -1);
    cr_assert(SOON(the_board()->begun == 10));
    program_press(program);
    cr_assert(SOON(the_board()->word[CAUGHT] == 1));
    the_board()->gate = 1;
    EXPECT_GOOD_END(program);
    cr_assert(zero(int, the_board()->word[SAW]));
}

static void ignores_it(void)
{
    signal(SIGINT, SIG_IGN);
    open_two(MP_INTERRUPT_STOP);
    MUST(is_handler(SIG_IGN));
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_OK);
    mp_pool_free(&the_pool);
    MUST(is_handler(SIG_IGN));
}

EACH_KIND(handler, none_for_it_is_ignored__changes_nothing)
{
    trial_begin(10);
    one_is(3, LOOKS);
    pid_t program = program_begin(ignores_it, -1);
    cr_assert(SOON(the_board()->begun == 10));
    program_press(program);
    the_board()->gate = 1;
    EXPECT_GOOD_END(program);
    cr_assert(zero(int, the_board()->word[SAW]));
}

static void leaves_it(void)
{
    open_two(MP_INTERRUPT_LEAVE);
    MUST(is_handler(SIG_DFL));
    RUN(the_pool, .chunksize = 1);
}

EACH_KIND(handler, none_with_MP_INTERRUPT_LEAVE__the_program_ends)
{
    trial_begin(10);
    all_are(HANGS);
    pid_t program = program_begin(leaves_it, -1);
    cr_assert(SOON(the_board()->begun == 2));
    program_press(program);
    EXPECT_INTERRUPTED(program);
}
