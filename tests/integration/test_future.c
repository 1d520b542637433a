/* Future: what each operation answers in each state, and what it makes of it: for futures of one's own and for those of executors,
 * of every kind. Then results, failures, time-outs, and who holds a future. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include <pthread.h>

TestSuite(table, .timeout = 60);
TestSuite(theirs, .timeout = 60);
TestSuite(result, .timeout = 60);
TestSuite(own, .timeout = 60);
TestSuite(held, .timeout = 60);
TestSuite(running, .timeout = 60);

/* ---- state x operation ---- */

typedef enum state { PENDING, RUNNING, CANCELLED, FINISHED, FAILED, STATES } state;
static const char *const state_names[STATES] = {"PENDING", "RUNNING", "CANCELLED", "FINISHED", "FAILED"};

/* STATES: it says one thing here and another there. */
static state state_of(mp_future *future)
{
    bool cancelled = mp_future_cancelled(future), running = mp_future_running(future), done = mp_future_done(future);
    mp_status status = mp_future_result(future, NULL, 0);
    if (cancelled)
        return done && !running && status == MP_ECANCELLED ? CANCELLED : STATES;
    if (done)
        return running || status == MP_ECANCELLED || status == MP_ETIMEDOUT ? STATES : status ? FAILED : FINISHED;
    return status != MP_ETIMEDOUT ? STATES : running ? RUNNING : PENDING;
}

static int do_cancel(mp_future *future)
{
    return mp_future_cancel(future);
}

static int do_cancelled(mp_future *future)
{
    return mp_future_cancelled(future);
}

static int do_running(mp_future *future)
{
    return mp_future_running(future);
}

static int do_done(mp_future *future)
{
    return mp_future_done(future);
}

static int do_result(mp_future *future)
{
    return (int)mp_future_result(future, NULL, 0);
}

static int do_exception(mp_future *future)
{
    return (int)mp_future_exception(future, 0)->status;
}

static int do_set_running(mp_future *future)
{
    return mp_future_set_running_or_notify_cancel(future);
}

static int do_set_result(mp_future *future)
{
    return (int)mp_future_set_result(future, &(int){1});
}

static int do_set_exception(mp_future *future)
{
    mp_error error = error_of(MP_EUSER, "no");
    return (int)mp_future_set_exception(future, &error);
}

/* How often it was called by then; -1: it was refused. */
static int do_add_callback(mp_future *future)
{
    static heard ears[64];
    static int used;
    heard *me = &ears[used++ % 64]; /* one that was added before may be called at any time */
    me->times = 0;
    if (mp_future_add_done_callback(future, hear, me) != MP_OK)
        return -1;
    return me->times;
}

typedef struct operation {
    const char *name;
    int (*apply)(mp_future *future);
    int answer[STATES];
    state after[STATES];
} operation;

#define SAME                                                                                                               \
    {                                                                                                                      \
        PENDING, RUNNING, CANCELLED, FINISHED, FAILED                                                                      \
    }
#define FAILURE (MP_EUSER + 5) /* how a FAILED one has failed */

static const operation cancel = {"cancel", do_cancel, {1, 0, 1, 0, 0}, {CANCELLED, RUNNING, CANCELLED, FINISHED, FAILED}};
static const operation cancelled = {"cancelled", do_cancelled, {0, 0, 1, 0, 0}, SAME};
static const operation is_running = {"running", do_running, {0, 1, 0, 0, 0}, SAME};
static const operation done = {"done", do_done, {0, 0, 1, 1, 1}, SAME};
static const operation result = {"result", do_result, {MP_ETIMEDOUT, MP_ETIMEDOUT, MP_ECANCELLED, MP_OK, FAILURE}, SAME};
static const operation exception = {
    "exception", do_exception, {MP_ETIMEDOUT, MP_ETIMEDOUT, MP_ECANCELLED, MP_OK, FAILURE}, SAME};
static const operation set_running = {
    "set_running_or_notify_cancel", do_set_running, {1, 0, 0, 0, 0}, {RUNNING, RUNNING, CANCELLED, FINISHED, FAILED}};
static const operation set_result = {"set_result",
                                     do_set_result,
                                     {MP_OK, MP_OK, MP_EDONE, MP_EDONE, MP_EDONE},
                                     {FINISHED, FINISHED, CANCELLED, FINISHED, FAILED}};
static const operation set_exception = {"set_exception",
                                        do_set_exception,
                                        {MP_OK, MP_OK, MP_EDONE, MP_EDONE, MP_EDONE},
                                        {FAILED, FAILED, CANCELLED, FINISHED, FAILED}};
static const operation add_callback = {"add_done_callback", do_add_callback, {0, 0, 1, 1, 1}, SAME};

/* An executor's futures are for nobody else to finish, or to start. */
static const operation set_running_theirs = {"set_running_or_notify_cancel", do_set_running, {0, 0, 0, 0, 0}, SAME};
static const operation set_result_theirs = {
    "set_result", do_set_result, {MP_EDONE, MP_EDONE, MP_EDONE, MP_EDONE, MP_EDONE}, SAME};
static const operation set_exception_theirs = {
    "set_exception", do_set_exception, {MP_EDONE, MP_EDONE, MP_EDONE, MP_EDONE, MP_EDONE}, SAME};

static void expect_row(const operation *row, mp_future *const *futures)
{
    for (int i = 0; i < STATES; i++) {
        cr_assert(eq(int, state_of(futures[i]), i), "before %s: %s", row->name, state_names[i]);
        cr_assert(eq(int, row->apply(futures[i]), row->answer[i]), "%s of one that is %s", row->name, state_names[i]);
        cr_assert(eq(int, state_of(futures[i]), row->after[i]), "after %s of one that was %s", row->name, state_names[i]);
    }
}

static void check_own(const operation *row)
{
    mp_future *futures[STATES];
    mp_error error = error_of(FAILURE, "minus 5");
    for (int i = 0; i < STATES; i++)
        futures[i] = mp_future_new(int);
    cr_assert(mp_future_set_running_or_notify_cancel(futures[RUNNING]));
    cr_assert(mp_future_cancel(futures[CANCELLED]));
    cr_assert(eq(int, mp_future_set_result(futures[FINISHED], &(int){1}), MP_OK));
    cr_assert(eq(int, mp_future_set_exception(futures[FAILED], &error), MP_OK));
    expect_row(row, futures);
    free_futures(futures, STATES);
}

/* With one worker, in the order in which they get there. Those that run or wait must still end as they should. */
static void check_theirs(const operation *row)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[STATES];
    futures[FINISHED] = SUBMIT(executor, mark, 9);
    futures[FAILED] = SUBMIT(executor, mark, -5);
    EXPECT_RESULT(futures[FINISHED], 10);
    EXPECT_STATUS(futures[FAILED], FAILURE);
    futures[RUNNING] = SUBMIT(executor, latch, 0);
    cr_assert(SOON(the_board()->begun == 3));
    futures[PENDING] = SUBMIT(executor, latch, 1);
    futures[CANCELLED] = SUBMIT(executor, latch, 2);
    cr_assert(mp_future_cancel(futures[CANCELLED]));
    expect_row(row, futures);
    LET_ALL_GO();
    EXPECT_RESULT(futures[RUNNING], 1);
    if (row->after[PENDING] == CANCELLED)
        EXPECT_STATUS(futures[PENDING], MP_ECANCELLED);
    else
        EXPECT_RESULT(futures[PENDING], 2);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->times[1], row->after[PENDING] != CANCELLED));
    cr_assert(zero(int, the_board()->times[2]));
    free_futures(futures, STATES);
}

#define TABLE(row, of_theirs)                                                                                              \
    CHECK(table, row##__in_each_state)                                                                                     \
    {                                                                                                                      \
        check_own(&(row));                                                                                                 \
    }                                                                                                                      \
    EACH_KIND(theirs, row##__in_each_state)                                                                                \
    {                                                                                                                      \
        check_theirs(&(of_theirs));                                                                                        \
    }                                                                                                                      \
    struct needs_a_semicolon

TABLE(cancel, cancel);
TABLE(cancelled, cancelled);
TABLE(is_running, is_running);
TABLE(done, done);
TABLE(result, result);
TABLE(exception, exception);
TABLE(set_running, set_running_theirs);
TABLE(set_result, set_result_theirs);
TABLE(set_exception, set_exception_theirs);
TABLE(add_callback, add_callback);

CHECK(table, no_future__is_answered)
{
    int out = 7;
    mp_future *none = NULL;
    mp_error error = error_of(MP_EUSER, "no");
    heard ear = {0};
    cr_assert(not(mp_future_cancel(none)));
    cr_assert(not(mp_future_cancelled(none)));
    cr_assert(not(mp_future_running(none)));
    cr_assert(not(mp_future_done(none)));
    cr_assert(not(mp_future_set_running_or_notify_cancel(none)));
    cr_assert(eq(int, mp_future_result(none, &out, MP_FOREVER), MP_EINVAL));
    cr_assert(eq(int, mp_future_exception(none, MP_FOREVER)->status, MP_EINVAL));
    cr_assert(eq(int, mp_future_set_result(none, &out), MP_EINVAL));
    cr_assert(eq(int, mp_future_set_exception(none, &error), MP_EINVAL));
    cr_assert(eq(int, mp_future_add_done_callback(none, hear, &ear), MP_EINVAL));
    cr_assert(zero(ptr, mp_future_ref(none)));
    mp_future_free(&none);
    mp_future_free(NULL);
    cr_assert(zero(int, ear.times));
}

CHECK(table, arguments_that_cannot_be__are_refused_and_change_nothing)
{
    mp_future *future = mp_future_new(int);
    mp_error nothing_wrong = {0};
    cr_assert(eq(int, mp_future_set_result(future, NULL), MP_EINVAL));
    cr_assert(eq(int, mp_future_set_exception(future, NULL), MP_EINVAL));
    cr_assert(eq(int, mp_future_set_exception(future, &nothing_wrong), MP_EINVAL));
    cr_assert(eq(int, mp_future_add_done_callback(future, NULL, NULL), MP_EINVAL));
    cr_assert(eq(int, state_of(future), PENDING));
    mp_future_free(&future);
}

/* ---- results and failures ---- */

EACH_KIND(result, before_it_is_done__times_out_and_works_later)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, latch, 0);
    cr_assert(eq(int, mp_future_result(future, NULL, 0.02), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_future_result(future, NULL, -3.0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_future_result(future, NULL, __builtin_nan("")), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_future_exception(future, 0.02)->status, MP_ETIMEDOUT));
    cr_assert(eq(int, mp_future_exception(future, -3.0)->status, MP_ETIMEDOUT));
    LET_ALL_GO();
    EXPECT_RESULT(future, 1);
    EXPECT_RESULT(future, 1);
    cr_assert(eq(int, mp_future_exception(future, MP_FOREVER)->status, MP_OK));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EACH_KIND(result, that_is_there__does_not_wait_for_the_next_task_on_its_worker)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[4] = {SUBMIT(executor, latch, 0), SUBMIT(executor, mark, 1), SUBMIT(executor, mark, 2),
                             SUBMIT(executor, latch, 3)};
    LET_GO(1);
    for (int i = 0; i < 3; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(not(mp_future_done(futures[3])));
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, 4);
}

EVERY_KIND(result, failure__says_the_same_each_time)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, mark, -4);
    for (int i = 0; i < 3; i++) {
        int out = 7;
        cr_assert(eq(int, mp_future_result(future, &out, PROMPT), MP_EUSER + 4));
        cr_assert(zero(int, out));
        const mp_error *error = mp_future_exception(future, PROMPT);
        cr_assert(eq(int, error->status, MP_EUSER + 4));
        cr_assert(eq(str, (char *)error->message, (char *)"minus 4"));
        cr_assert(eq(str, (char *)error->task, (char *)"mark"));
    }
    mp_future_free(&future);
    mp_executor_free(&executor);
}

static mp_status say_time_is_up(const int *in, int *out, mp_call *call)
{
    (void)in, (void)out;
    return mp_fail(call, MP_ETIMEDOUT, "the server did not answer");
}
MP_TASK(say_time_is_up, int, int);

EVERY_KIND(result, time_out_of_the_task_itself__is_not_that_of_who_waits)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, say_time_is_up, 0);
    EXPECT_STATUS(future, MP_EFAILED);
    cr_assert(says(mp_future_exception(future, 0), "the server did not answer"));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EVERY_KIND(result, room_of_another_size__is_refused)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    double wide = 7;
    char narrow = 7;
    int out = 0;
    mp_future *future = SUBMIT(executor, mark, 1);
    cr_assert(eq(int, mp_future_result(future, &wide, PROMPT), MP_ETYPE));
    cr_assert(eq(int, mp_future_result(future, &narrow, PROMPT), MP_ETYPE));
    cr_assert(wide == 7 && narrow == 7, "not touched");
    cr_assert(eq(int, mp_future_result(future, (void *)&out, PROMPT), MP_OK), "of a void pointer the size is not known");
    cr_assert(eq(int, out, 2));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EVERY_KIND(result, what_it_points_to__lives_as_long_as_the_future)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_str small, large, again;
    mp_future *one = SUBMIT(executor, tell_text, 10), *two = SUBMIT(executor, tell_text, 100000);
    cr_assert(eq(int, mp_future_result(one, &small, PROMPT), MP_OK));
    mp_executor_free(&executor);
    cr_assert(eq(int, mp_future_result(two, &large, 0), MP_OK));
    cr_assert(eq(int, mp_future_result(two, &again, 0), MP_OK));
    mp_future_free(&one);
    cr_assert(is_text(&large, 100000) && is_text(&again, 100000));
    mp_future_free(&two);
}

EACH_KIND(result, input__is_copied_with_all_it_points_to)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_str out;
    char *text = strdup("one, two ");
    mp_future *held = SUBMIT(executor, latch, 0);
    mp_str *in = malloc(sizeof *in);
    *in = (mp_str){text, strlen(text)};
    mp_future *future = mp_submit(executor, append, in);
    spoil(text, strlen(text));
    free(text);
    spoil(in, sizeof *in);
    free(in);
    LET_ALL_GO();
    cr_assert(eq(int, mp_future_result(future, &out, PROMPT), MP_OK));
    cr_assert(is_str(&out, "one, two and so on"));
    mp_future_free(&future);
    mp_future_free(&held);
    mp_executor_free(&executor);
}

static void *expect_ten(void *argument)
{
    int out = 0;
    return (void *)(intptr_t)(mp_future_result((mp_future *)argument, &out, PROMPT) == MP_OK && out == 10);
}

EACH_KIND(result, four_threads_that_wait__all_get_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    pthread_t threads[4];
    mp_future *future = SUBMIT(executor, latch, 9);
    for (int i = 0; i < 4; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, expect_ten, future)));
    LET_ALL_GO();
    for (int i = 0; i < 4; i++) {
        void *right = NULL;
        pthread_join(threads[i], &right);
        cr_assert(ne(ptr, right, NULL));
    }
    mp_future_free(&future);
    mp_executor_free(&executor);
}

/* ---- futures of one's own ---- */

CHECK(own, value__is_copied_with_all_it_points_to)
{
    mp_future *future = mp_future_new(mp_str);
    char text[] = "as it was";
    mp_str out;
    cr_assert(eq(int, mp_future_set_result(future, &(mp_str){text, strlen(text)}), MP_OK));
    spoil(text, sizeof text);
    cr_assert(eq(int, mp_future_result(future, &out, 0), MP_OK));
    cr_assert(is_str(&out, "as it was"));
    mp_future_free(&future);
}

CHECK(own, error__is_copied)
{
    mp_future *future = mp_future_new(int);
    int out = 7;
    mp_error error = error_of(FAILURE, "the disk is full");
    error.item = 17;
    cr_assert(eq(int, mp_future_set_exception(future, &error), MP_OK));
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_future_result(future, &out, 0), FAILURE));
    cr_assert(zero(int, out));
    cr_assert(eq(str, (char *)mp_future_exception(future, 0)->message, (char *)"the disk is full"));
    cr_assert(eq(sz, mp_future_exception(future, 0)->item, 17));
    mp_future_free(&future);
}

CHECK(own, error_that_waiting_calls_say_for_themselves__is_a_failure)
{
    const mp_status statuses[] = {MP_ETIMEDOUT, MP_END};
    for (int i = 0; i < 2; i++) {
        mp_future *future = mp_future_new(int), *silent = mp_future_new(int);
        mp_error error = error_of(statuses[i], "the server did not answer"), wordless = {.status = statuses[i]};
        cr_assert(eq(int, mp_future_set_exception(future, &error), MP_OK));
        cr_assert(eq(int, mp_future_set_exception(silent, &wordless), MP_OK));
        EXPECT_STATUS(future, MP_EFAILED);
        cr_assert(eq(int, mp_future_exception(future, 0)->status, MP_EFAILED));
        cr_assert(eq(str, (char *)mp_future_exception(future, 0)->message, (char *)"the server did not answer"));
        EXPECT_STATUS(silent, MP_EFAILED);
        cr_assert(ne(ptr, strstr(mp_future_exception(silent, 0)->message, mp_status_name(statuses[i])), NULL));
        cr_assert(eq(int, error.status, statuses[i]));
        mp_future_free(&future);
        mp_future_free(&silent);
    }
}

CHECK(own, second_result__does_not_replace_the_first)
{
    mp_future *future = mp_future_new(int);
    mp_error error = error_of(FAILURE, "too late");
    cr_assert(eq(int, mp_future_set_result(future, &(int){1}), MP_OK));
    cr_assert(eq(int, mp_future_set_result(future, &(int){2}), MP_EDONE));
    cr_assert(eq(int, mp_future_set_exception(future, &error), MP_EDONE));
    EXPECT_RESULT(future, 1);
    mp_future_free(&future);
}

static void *finish_five(void *argument)
{
    mp_future *future = argument;
    nap_us(5000); /* mostly so that somebody waits; right either way */
    return (void *)(intptr_t)(mp_future_set_running_or_notify_cancel(future) &&
                              mp_future_set_result(future, &(int){5}) == MP_OK);
}

CHECK(own, finished_by_another_thread__wakes_who_waits)
{
    mp_future *future = mp_future_new(int);
    pthread_t thread;
    void *right = NULL;
    cr_assert(zero(int, pthread_create(&thread, NULL, finish_five, future)));
    EXPECT_RESULT(future, 5);
    pthread_join(thread, &right);
    cr_assert(ne(ptr, right, NULL));
    mp_future_free(&future);
}

static void *cancel_it(void *argument)
{
    nap_us(5000);
    return (void *)(intptr_t)mp_future_cancel((mp_future *)argument);
}

CHECK(own, cancelled_by_another_thread__wakes_who_waits)
{
    mp_future *future = mp_future_new(int);
    pthread_t thread;
    void *right = NULL;
    cr_assert(zero(int, pthread_create(&thread, NULL, cancel_it, future)));
    EXPECT_STATUS(future, MP_ECANCELLED);
    pthread_join(thread, &right);
    cr_assert(ne(ptr, right, NULL));
    mp_future_free(&future);
}

CHECK(own, freed_in_any_state__leaves_nothing)
{
    for (int i = 0; i < 3; i++) {
        mp_future *future = mp_future_new(mp_str);
        heard ear = {0};
        cr_assert(eq(int, mp_future_add_done_callback(future, hear, &ear), MP_OK));
        if (i == 1)
            cr_assert(mp_future_set_running_or_notify_cancel(future));
        if (i == 2)
            cr_assert(eq(int, mp_future_set_result(future, &(mp_str){"text", 4}), MP_OK));
        mp_future_free(&future);
        cr_assert(eq(int, ear.times, 1)); /* of its result, or that it is cancelled */
    }
}

/* ---- who holds it ---- */

EVERY_KIND(held, by_two__is_there_until_the_second_lets_go)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_str out;
    mp_future *one = SUBMIT(executor, tell_text, 1000), *two = mp_future_ref(one);
    cr_assert(eq(ptr, one, two));
    mp_future_free(&one);
    cr_assert(zero(ptr, one));
    cr_assert(eq(int, mp_future_result(two, &out, PROMPT), MP_OK));
    mp_executor_free(&executor);
    cr_assert(is_text(&out, 1000));
    mp_future_free(&two);
}

EACH_KIND(held, by_nobody__its_task_goes_on_and_its_callbacks_run)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[3] = {0};
    for (int i = 0; i < 3; i++) {
        mp_future *future = SUBMIT(executor, latch, i);
        cr_assert(eq(int, mp_future_add_done_callback(future, hear, &ears[i]), MP_OK));
        mp_future_free(&future);
    }
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, the_board()->times[i], 1));
        cr_assert(eq(int, ears[i].times, 1));
        cr_assert(zero(int, ears[i].not_done));
    }
}

/* ---- running means running ---- */

EACH_KIND(running, of_three_on_one_worker__only_the_one_in_its_task)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[3];
    for (int i = 0; i < 3; i++)
        futures[i] = SUBMIT(executor, latch, i);
    for (int at = 0; at < 3; at++) {
        cr_assert(SOON(the_board()->begun == at + 1));
        for (int i = at; i < 3; i++)
            cr_assert(eq(int, state_of(futures[i]), i == at ? RUNNING : PENDING), "%d while %d is in its task", i, at);
        LET_GO(at + 1);
        EXPECT_RESULT(futures[at], at + 1);
        cr_assert(eq(int, state_of(futures[at]), FINISHED));
    }
    free_futures(futures, 3);
    mp_executor_free(&executor);
}

EACH_KIND(running, nothing_but_that__is_too_late_for_cancel)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[8];
    for (int i = 0; i < 8; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == 2));
    for (int i = 7; i >= 0; i--)
        cr_assert(eq(int, mp_future_cancel(futures[i]), the_board()->times[i] == 0), "%d", i);
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 2), "what was cancelled has never started");
    free_futures(futures, 8);
}
