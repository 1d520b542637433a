/* Items that are run again, and calls that stop at so many failures. */
#include "serial/memory.h"
#include "tests/unit/core_pool.h"

TestSuite(core_retry, .timeout = 60);
TestSuite(core_stop, .timeout = 60);

enum { MS = 1000000, ALL = MP__RETRY_FAILED | MP__RETRY_CRASHED | MP__RETRY_TIMEDOUT | MP__RETRY_LOST };

/* --- what is run again ------------------------------------------------------------------------------------------------- */

CHECK(core_retry, not_asked_for__an_item_that_failed_has_ended)
{
    mp__core_job job;
    mp_status status;
    pool_runs(1);
    submit(&job, 1, 0);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(status, MP_EFAILED);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, task_failed__runs_again_so_often_and_no_more)
{
    mp__core_job job = {.n = 1, .retries = 2, .retry_on = ALL};
    mp__core_item item;
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    for (uint64_t attempt = 1; attempt <= 2; attempt++) {
        cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
        cr_assert_eq(asked_times(MP__ACT_DONE), 0);
        cr_assert_eq(sent[0], attempt + 1);
        cr_assert_eq(counts().retried, attempt);
    }
    bool nonsense;
    cr_assert_eq(mp__core_failed(core, 0, lives[0], &status, true, &item, &nonsense), MP__FAILED_FINAL);
    cr_assert_eq(item.attempt, 3);
    act();
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, attempt__is_told_with_what_is_sent)
{
    mp__core_job job = {.n = 2, .chunksize = 2, .retries = 1, .retry_on = ALL};
    mp__core_item item;
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    fails(0, &status);
    results(0, 1);
    mp__core_time(core, MS);
    bool nonsense;
    cr_assert(mp__core_result(core, 0, lives[0], &item, &nonsense));
    cr_assert(item.index == 0 && item.attempt == 2);
    act();
    pool_ends();
}

CHECK(core_retry, worker_vanished__what_it_had_runs_again_where_that_is_wanted)
{
    mp__core_job job = {.n = 1, .retries = 1, .retry_on = MP__RETRY_LOST};
    pool_runs(1);
    submit_job(&job);
    vanished(0);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    ready(0);
    cr_assert_eq(sent[0], 1);
    vanished(0);
    cr_assert(failed(0, 0, 1, MP_ELOST));
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, input_or_result_cannot_be_coded__is_never_run_again)
{
    mp__core_job job = {.n = 1, .retries = 9, .retry_on = ALL};
    mp__core_item item;
    mp_status status = MP_EFORMAT;
    bool nonsense;
    pool_runs(1);
    submit_job(&job);
    cr_assert_eq(mp__core_failed(core, 0, lives[0], &status, false, &item, &nonsense), MP__FAILED_FINAL);
    cr_assert_eq(status, MP_EFORMAT);
    act();
    pool_ends();
}

CHECK(core_retry, another_class_of_failures__is_not_run_again)
{
    mp__core_job job = {.n = 1, .retries = 9, .retry_on = ALL & ~MP__RETRY_FAILED};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    pool_ends();
}

CHECK(core_retry, crashed__the_next_life_runs_it_first)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .retries = 1, .retry_on = MP__RETRY_CRASHED};
    pool_runs(1);
    submit_job(&job);
    results(0, 1);
    lost(0, 2);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    ready(0);
    cr_assert(first_sent[0] == 1 && sent[0] == 2);
    lost(0, 1);
    cr_assert(failed(0, 1, 1, MP_ECRASHED) && asked(MP__ACT_FAIL, 0)->attempt == 2);
    pool_ends();
}

CHECK(core_retry, results_lost__run_again_only_if_that_was_asked_for)
{
    mp__core_job job = {.n = 4, .chunksize = 4, .retries = 1, .retry_on = MP__RETRY_LOST};
    pool_runs(1);
    submit_job(&job);
    lost(0, 3);
    cr_assert(failed(0, 2, 1, MP_ECRASHED) && asked_times(MP__ACT_FAIL) == 1);
    cr_assert_eq(counts().retried, 2);
    ready(0);
    results(0, 3);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, timed_out__runs_again_and_by_deadline_it_does_not)
{
    mp__core_job job = {.n = 1, .timeout_ns = MS, .deadline = 100 * (uint64_t)MS, .retries = 9, .retry_on = ALL};
    pool_runs(1);
    submit_job(&job);
    at(MS);
    progress(0, 1, false);
    at(2 * MS);
    progress(0, 1, false);
    ended(0, true);
    lost(0, 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    ready(1);
    cr_assert_eq(sent[1], 1);
    at(100 * (uint64_t)MS);
    recalled(1, 1);
    progress(1, 1, false);
    ended(1, true);
    lost(1, 1);
    cr_assert(failed(0, 0, 1, MP_ETIMEDOUT) && asked(MP__ACT_FAIL, 0)->attempt == 2);
    pool_ends();
}

CHECK(core_retry, cancelled_job__nothing_runs_again)
{
    mp__core_job job = {.n = 1, .retries = 9, .retry_on = ALL};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    cancel(&job);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, attempts_differ__neighbours_are_not_joined)
{
    mp__core_job job = {.n = 4, .chunksize = 4, .retries = 1, .retry_on = MP__RETRY_CRASHED};
    mp__core_item item;
    pool_runs(1);
    submit_job(&job);
    lost(0, 1);
    ready(0);
    bool nonsense;
    cr_assert_eq(mp__core_results(core, 0, lives[0], 9, &item, &nonsense), 1);
    cr_assert(item.index == 0 && item.attempt == 2);
    size_t taken = mp__core_results(core, 0, lives[0], 9, &item, &nonsense);
    cr_assert(taken > 0 && item.index == 1 && item.attempt == 1);
    act();
    pool_ends();
}

/* --- back-off ---------------------------------------------------------------------------------------------------------- */

CHECK(core_retry, backoff__doubles_and_others_run_meanwhile)
{
    mp__core_job job = {.n = 1, .retries = 9, .retry_on = ALL, .retry_ns = 20 * MS}, other;
    mp_status status;
    uint64_t now = 0;
    pool_runs(1);
    submit_job(&job);
    for (uint64_t wait = 20 * MS, i = 1; i <= 4; i++, wait *= 2) {
        cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
        cr_assert_eq(mp__core_deadline(core), now + wait);
        submit(&other, 1, 0);
        cr_assert(asked_of(MP__ACT_SEND, 0));
        results(0, 1);
        at(now + wait - 1);
        cr_assert_not(asked_of(MP__ACT_SEND, 0));
        at(now += wait);
        cr_assert(asked_of(MP__ACT_SEND, 0));
    }
    pool_ends();
}

CHECK(core_retry, backoff__is_a_minute_at_most)
{
    mp__core_job job = {.n = 1, .retries = UINT32_MAX, .retry_on = ALL, .retry_ns = 50000000000};
    mp_status status;
    uint64_t now = 0;
    pool_runs(1);
    submit_job(&job);
    for (int i = 0; i < 100; i++) {
        fails(0, &status);
        uint64_t due = mp__core_deadline(core);
        cr_assert_eq(due - now, i ? MP__RETRY_MAX_NS : 50000000000);
        at(now = due);
    }
    pool_ends();
}

CHECK(core_retry, many_wait__each_runs_again_and_each_once)
{
    enum { ITEMS = 3000 };
    mp__core_job job = {.n = ITEMS, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    for (uint64_t i = 0; i < ITEMS; i++)
        cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
    cr_assert_eq(counts().pending, ITEMS);
    at(20 * MS);
    for (size_t i = 0; i < ITEMS; i++)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

/* Whatever they waited: they come to their places in their order, each behind the one before it. Who passes by those in front finds
 * a wall there, and is lost. */
CHECK(core_retry, many_calls_come_due_at_a_time__they_do_not_pass_by_those_in_front)
{
    enum { FRONT = 10, ALL_CALLS = 30 };
    static mp__core_job wall = {.number = UINT64_MAX}, calls[ALL_CALLS], youngest;
    mp_status status;
    pool_runs(1);
    for (size_t i = 0; i < ALL_CALLS; i++) {
        uint64_t wait = i < FRONT ? FRONT : FRONT + ALL_CALLS - i;
        calls[i] = (mp__core_job){.n = 1, .retries = 1, .retry_on = ALL, .retry_ns = wait * MS};
        submit_job(&calls[i]);
        cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
    }
    submit(&youngest, 1, 0);
    lost(0, 0);
    at(FRONT * MS);
    calls[0].next = &wall;
    mp__core_time(core, ALL_CALLS * MS);
    calls[0].next = &calls[1];
    act();
    ready(0);
    for (size_t i = 0; i < ALL_CALLS; i++) {
        results(0, 1);
        cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &calls[i]);
    }
    results(0, 1);
    pool_ends();
}

CHECK(core_retry, many_items_come_due_at_a_time__they_do_not_pass_by_those_in_front)
{
    enum { ITEMS = 40, FRONT = 10, RUN = 30 };
    static mp__chunk wall = {.first = SIZE_MAX};
    mp__core_job job = {.n = ITEMS, .chunksize = ITEMS, .retries = 1, .retry_on = ALL, .retry_ns = 10 * MS};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    for (size_t i = 0; i < RUN; i++) {
        at(i < FRONT ? 0 : MS);
        if (i % 2)
            cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
        else
            cr_assert_eq(result(0), i);
    }
    lost(0, RUN);
    at(10 * MS);
    mp__chunk *second = job.returned.head->next;
    job.returned.head->next = &wall;
    mp__core_time(core, 11 * MS);
    job.returned.head->next = second;
    act();
    ready(0);
    for (size_t i = 1; i < ITEMS; i += i < RUN - 1 ? 2 : 1)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_retry, cancelled_while_it_waits__ends_at_once)
{
    mp__core_job job = {.n = 1, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    fails(0, &status);
    cancel(&job);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED));
    cr_assert(asked(MP__ACT_FAIL, 0)->slot == MP__NO_SLOT && asked(MP__ACT_FAIL, 0)->attempt == 1);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

/* In every place where an item can be: with a worker, behind it, in a place's queue, waiting to run again; and one job that has
 * nothing but a deadline. */
CHECK(core_retry, all_cancelled__what_waits_to_run_again_too)
{
    mp__core_job again = {.n = 1, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS}, runs = {.n = 1}, waits = {.n = 9};
    mp__core_job pinned = {.n = 1, .pin = 1}, open = {.open = true, .deadline = 10 * MS};
    mp_status status;
    pool_runs(1);
    submit_job(&open);
    submit_job(&again);
    fails(0, &status);
    submit_job(&runs);
    submit_job(&waits);
    submit_job(&pinned);
    mp__core_cancel_all(core, MP_ECANCELLED);
    act();
    if (asked_of(MP__ACT_RECALL, 0))
        recalled(0, 2);
    cr_assert_eq(counts().pending, 1);
    cr_assert(again.cancelled && runs.cancelled && waits.cancelled && pinned.cancelled && !open.cancelled);
    results(0, 1);
    seal(&open);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_retry, terminated_while_it_waits__ends_at_once)
{
    mp__core_job job = {.n = 1, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS};
    mp_status status;
    pool_runs_as(&(mp__core_config){.workers = 1, .tasks = 2, .unkillable = true});
    submit_job(&job);
    fails(0, &status);
    terminate_pool();
    cr_assert(failed(0, 0, 1, MP_ETERMINATED));
    pool_ends();
}

CHECK(core_retry, closed_while_it_waits__the_pool_waits_for_it)
{
    mp__core_job job = {.n = 1, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    fails(0, &status);
    close_pool();
    cr_assert_not(asked_of(MP__ACT_STOP, 0));
    at(20 * MS);
    results(0, 1);
    cr_assert(asked_of(MP__ACT_STOP, 0));
    pool_ends();
}

/* --- no memory --------------------------------------------------------------------------------------------------------- */

static void *no_calloc(size_t count, size_t size)
{
    (void)count;
    (void)size;
    return NULL;
}

/* Every chunk waits with an item; then one more fails, in a chunk that has others behind it. */
CHECK(core_retry, no_memory__the_item_ends_with_its_failure)
{
    mp__core_job job = {.n = 3000, .chunksize = 3000, .retries = 1, .retry_on = ALL, .retry_ns = 20 * MS};
    mp__memory_calls usual = mp__memory;
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    mp__memory.calloc = no_calloc;
    size_t again = 0;
    while (fails(0, &status) == MP__FAILED_RETRIED)
        again++;
    mp__memory = usual;
    cr_assert_gt(again, 0);
    cr_assert_lt(again, 2999);
    cr_assert_eq(status, MP_EFAILED);
    cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED, "there is memory again");
    lost(0, 0);
    cr_assert_eq(counts().pending, 3000 - 1);
    pool_ends();
}

/* --- stop_at ----------------------------------------------------------------------------------------------------------- */

CHECK(core_stop, so_many_failed__the_rest_is_cancelled_and_what_runs_is_told)
{
    mp__core_job job = {.n = 100, .chunksize = 1, .stop_at = 2};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(status, MP_EFAILED);
    recalled(0, 3);
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    results(0, 1);
    cr_assert_eq(counts().finished, 100);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_stop, crashes_count__and_retried_ones_do_not)
{
    mp__core_job job = {.n = 10, .chunksize = 10, .stop_at = 1, .retries = 1, .retry_on = MP__RETRY_FAILED};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    lost(0, 2);
    cr_assert(failed(0, 1, 1, MP_ECRASHED));
    cr_assert_eq(counts().finished, 10);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_stop, a_result_that_could_not_be_kept__counts)
{
    mp__core_job job = {.n = 10, .chunksize = 10, .stop_at = 1};
    mp__core_item item;
    bool nonsense;
    pool_runs(1);
    submit_job(&job);
    cr_assert(mp__core_result(core, 0, lives[0], &item, &nonsense));
    mp__core_spoilt(core, item.job);
    act();
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_stop, the_last_item__is_done_and_no_more)
{
    mp__core_job job = {.n = 1, .stop_at = 1};
    mp_status status;
    pool_runs(1);
    submit_job(&job);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    pool_ends();
}
