/* Items that run too long, calls that take too long, and cancelling by force. */
#include "tests/unit/core_pool.h"

TestSuite(core_timeout, .timeout = 60);
TestSuite(core_grace, .timeout = 60);
TestSuite(core_force, .timeout = 60);
TestSuite(core_deadline, .timeout = 60);
TestSuite(core_spent, .timeout = 60);

enum { MS = 1000000 };
static const uint64_t tick = MS; /* of a time-out of 16 ms */

/* A pool of one worker that has been sent the job. */
static void one_worker_runs(mp__core_job *job)
{
    pool_runs(1);
    submit_job(job);
}

/* As mp__core_time does it, tick by tick; each time the worker says this. */
static void watch_until(uint64_t until, uint32_t slot, uint64_t started, mp__heed heed)
{
    while (mp__core_now(core) < until && !asked(MP__ACT_END, 0) && !asked(MP__ACT_RECALL, 0)) {
        uint64_t due = mp__core_deadline(core);
        at(due < until ? due : until);
        if (asked_of(MP__ACT_WATCH, slot))
            progress(slot, started, heed);
    }
}

/* --- time-outs --------------------------------------------------------------------------------------------------------- */

CHECK(core_timeout, no_timeout__nothing_is_due)
{
    mp__core_job job = {.n = 1};
    one_worker_runs(&job);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_timeout, time_is_up__the_worker_is_ended_after_that_and_within_a_tick)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    const mp__core_action *end = asked(MP__ACT_END, 0);
    cr_assert(end && end->slot == 0 && end->ordinal == 1);
    cr_assert_geq(mp__core_now(core), 16 * MS);
    cr_assert_leq(mp__core_now(core), 16 * MS + tick, "it had started at 0");
    pool_ends();
}

CHECK(core_timeout, answers_that_are_long_on_their_way__make_nothing_late)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    for (uint64_t now = 20 * MS; now < 1000 * MS; now += 20 * MS) { /* asked when the one before came */
        mp__core_time(core, now);
        mp__core_progress_since(core, 0, lives[0], 1, false, now - 20 * MS);
        act();
        cr_assert_null(asked(MP__ACT_END, 0), "nothing is known of the time between");
    }
    pool_ends();
}

CHECK(core_timeout, the_item_is_seen_later__its_time_begins_then)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(10 * MS, 0, 0, false);
    watch_until(1000 * MS, 0, 1, false);
    cr_assert_geq(mp__core_now(core), 10 * MS + 16 * MS);
    pool_ends();
}

CHECK(core_timeout, items_follow_each_other__each_has_its_own_time)
{
    mp__core_job job = {.n = 4, .chunksize = 4, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    for (uint64_t i = 1; i <= 4; i++)
        watch_until(i * 14 * MS, 0, i, false);
    cr_assert_null(asked(MP__ACT_END, 0));
    cr_assert_lt(mp__core_now(core), 1000 * MS);
    pool_ends();
}

CHECK(core_timeout, program_was_stopped__counts_for_two_ticks)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(2 * MS, 0, 1, false);
    at(3600000ull * MS);
    progress(0, 1, false);
    cr_assert_null(asked(MP__ACT_END, 0));
    uint64_t now = mp__core_now(core);
    watch_until(now + 1000 * MS, 0, 1, false);
    cr_assert_geq(mp__core_now(core) - now, 16 * MS - 4 * tick);
    pool_ends();
}

CHECK(core_timeout, nothing_with_a_timeout_is_left__the_slot_is_watched_no_more)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS}, other = {.n = 1};
    one_worker_runs(&job);
    results(0, 1);
    submit_job(&other);
    at(tick);
    cr_assert_null(asked(MP__ACT_WATCH, 0));
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_timeout, ended__what_is_behind_goes_elsewhere_at_once_and_the_place_is_free)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, true);
    cr_assert(asked_of(MP__ACT_START, 1), "beside it");
    ready(1);
    cr_assert_eq(first_sent[1], 1);
    cr_assert_eq(sent[1], 2);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ETIMEDOUT));
    cr_assert(asked(MP__ACT_FAIL, 0)->slot == 0 && asked(MP__ACT_FAIL, 0)->attempt == 1);
    cr_assert_eq(counts().lost, 0, "it was wanted");
    results(1, 2);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_timeout, ended_with_results_on_their_way__these_count)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 3, false);
    cr_assert_eq(asked(MP__ACT_END, 0)->ordinal, 3);
    ended(0, true);
    results(0, 2);
    lost(0, 3);
    cr_assert(failed(0, 2, 1, MP_ETIMEDOUT) && asked_times(MP__ACT_FAIL) == 1);
    pool_ends();
}

CHECK(core_timeout, ended_and_finished_all_the_same__its_result_counts)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, true);
    results(0, 1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    lost(0, 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    pool_ends();
}

CHECK(core_timeout, ended_and_does_not_go__is_killed_after_its_grace)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS, .grace_ns = 5 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, true);
    uint64_t now = mp__core_now(core);
    at(now + 5 * MS - 1);
    cr_assert_null(asked(MP__ACT_KILL, 0));
    at(now + 5 * MS);
    cr_assert(asked_of(MP__ACT_KILL, 0) && asked(MP__ACT_KILL, 0)->hard);
    at(now + 50 * MS);
    cr_assert_null(asked(MP__ACT_KILL, 0), "once");
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ETIMEDOUT));
    pool_ends();
}

CHECK(core_timeout, ended_and_the_pool_is_terminated__is_asked_no_second_time)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, true);
    terminate_pool();
    cr_assert(failed(0, 0, 1, MP_ETERMINATED));
    cr_assert_not(asked_of(MP__ACT_KILL, 0));
    at(mp__core_now(core) + MP__GRACE_NS);
    cr_assert(asked_of(MP__ACT_KILL, 0) && asked(MP__ACT_KILL, 0)->hard);
    pool_ends();
}

CHECK(core_timeout, end_comes_too_late__nothing_has_changed)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, false);
    cr_assert(asked_of(MP__ACT_WATCH, 0));
    progress(0, 2, false);
    at(mp__core_now(core) + MP__OVERDUE_NS);
    cr_assert_null(asked(MP__ACT_END, 0), "the second has its own time");
    results(0, 3);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_timeout, end_fails_and_the_item_runs_on__is_tried_again)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    ended(0, false);
    progress(0, 1, false);
    cr_assert_null(asked(MP__ACT_END, 0));
    at(mp__core_now(core) + MP__OVERDUE_NS);
    cr_assert(asked_of(MP__ACT_END, 0));
    pool_ends();
}

CHECK(core_timeout, result_before_the_end_is_carried_out__there_is_none)
{
    mp__core_job job = {.n = 1, .timeout_ns = 1};
    mp__core_action action;
    mp__core_item item;
    bool nonsense;
    one_worker_runs(&job);
    at(tick);
    progress(0, 1, false);
    mp__core_time(core, 2 * tick);
    mp__core_progress(core, 0, lives[0], 1, false);
    cr_assert(mp__core_result(core, 0, lives[0], &item, &nonsense));
    while (mp__core_next(core, &action))
        cr_assert_neq(action.kind, MP__ACT_END);
    pool_ends();
}

CHECK(core_timeout, there_is_more_to_send__nothing_is_sent_behind_it)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 1};
    mp__core_item item;
    pool_runs(1);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    for (uint64_t now = tick; now <= 2 * tick; now += tick) {
        cr_assert_gt(mp__core_unsent(core, 0, &item), 0);
        mp__core_time(core, now);
        mp__core_progress(core, 0, lives[0], 1, false);
    }
    cr_assert_eq(mp__core_unsent(core, 0, &item), 0);
    act();
    cr_assert(asked_of(MP__ACT_END, 0));
    ended(0, false);
    progress(0, 1, false);
    results(0, 1);
    cr_assert_eq(sent[0], 2, "then it is");
    pool_ends();
}

CHECK(core_timeout, crash_of_an_overdue_item__is_a_crash)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, false);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED));
    pool_ends();
}

/* --- tasks that look --------------------------------------------------------------------------------------------------- */

/* The task of the first of three items looks, its time is up, and what was sent behind it has come back. */
static void overdue_and_told(mp__core_job *job, uint64_t grace_ns)
{
    *job = (mp__core_job){.n = 3, .chunksize = 3, .timeout_ns = 16 * MS, .grace_ns = grace_ns};
    one_worker_runs(job);
    watch_until(1000 * MS, 0, 1, true);
    cr_assert_not(asked_of(MP__ACT_END, 0) || asked_of(MP__ACT_CANCEL, 0));
    cr_assert(asked_of(MP__ACT_RECALL, 0), "else what comes next might be told");
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0) && !asked_of(MP__ACT_SEND, 0), "nothing is sent behind it");
}

CHECK(core_grace, the_task_looks__is_told_and_has_its_grace)
{
    mp__core_job job;
    overdue_and_told(&job, 7 * MS);
    uint64_t now = mp__core_now(core);
    at(now + 7 * MS - 1);
    cr_assert_null(asked(MP__ACT_END, 0));
    at(now + 7 * MS);
    cr_assert(asked(MP__ACT_END, 0) && asked(MP__ACT_END, 0)->ordinal == 1);
    pool_ends();
}

CHECK(core_grace, returns_well_in_its_grace__succeeds_and_the_worker_goes_on)
{
    mp__core_job job;
    overdue_and_told(&job, 0);
    cr_assert_eq(result(0), 0);
    cr_assert(asked_of(MP__ACT_SEND, 0) && first_sent[0] == 1);
    at(mp__core_now(core) + 2 * MP__GRACE_NS);
    cr_assert_null(asked(MP__ACT_END, 0));
    pool_ends();
}

CHECK(core_grace, fails_in_its_grace__has_timed_out)
{
    mp__core_job job;
    mp_status status;
    overdue_and_told(&job, 0);
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(status, MP_ETIMEDOUT);
    pool_ends();
}

CHECK(core_grace, other_workers_idle__they_run_what_was_behind_it)
{
    mp__core_job job = {.n = 4, .chunksize = 4, .timeout_ns = 16 * MS};
    pool_runs(2);
    submit_job(&job);
    cr_assert_eq(sent[0], 4);
    watch_until(1000 * MS, 0, 1, true);
    recalled(0, 1);
    cr_assert_eq(first_sent[1], 1);
    pool_ends();
}

CHECK(core_grace, recall_says_that_it_has_gone_on__nothing_is_overdue)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .timeout_ns = 16 * MS};
    one_worker_runs(&job);
    watch_until(1000 * MS, 0, 1, true);
    recalled(0, 2);
    cr_assert_not(asked_of(MP__ACT_CANCEL, 0));
    at(mp__core_now(core) + 2 * MP__GRACE_NS);
    cr_assert_null(asked(MP__ACT_END, 0));
    pool_ends();
}

CHECK(core_grace, workers_cannot_be_ended__the_task_is_told_and_that_is_all)
{
    mp__core_job job = {.n = 1, .timeout_ns = 16 * MS};
    mp_status status;
    pool_runs_as(&(mp__core_config){.workers = 1, .tasks = 2, .unkillable = true});
    submit_job(&job);
    watch_until(1000 * MS, 0, 1, false);
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    at(mp__core_now(core) + 100 * MP__GRACE_NS);
    cr_assert_null(asked(MP__ACT_END, 0));
    cr_assert_eq(fails(0, &status), MP__FAILED_FINAL);
    cr_assert_eq(status, MP_ETIMEDOUT);
    pool_ends();
}

/* The time of the only item is up, its worker has had no CPU, and it is told. */
static void overdue_without_cpu(mp__core_job *job)
{
    *job = (mp__core_job){.n = 1, .timeout_ns = 160 * MS, .grace_ns = 50 * MS};
    one_worker_runs(job);
    watch_until(1000 * MS, 0, 1, MP__HEED_UNKNOWN);
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0) && !asked_of(MP__ACT_END, 0));
}

CHECK(core_grace, it_has_had_no_cpu__is_told_and_asked_until_it_had)
{
    mp__core_job job;
    overdue_without_cpu(&job);
    for (int i = 0; i < 3; i++) {
        at(mp__core_now(core) + (MP__TICK_MIN_NS << i));
        cr_assert(asked_of(MP__ACT_WATCH, 0), "ever later, and not a tick of its time-out");
        progress(0, 1, MP__HEED_UNKNOWN);
        cr_assert_not(asked_of(MP__ACT_END, 0) || asked_of(MP__ACT_CANCEL, 0));
    }
    progress(0, 1, MP__HEED_NO);
    cr_assert_eq(asked(MP__ACT_END, 0)->ordinal, 1);
    pool_ends();
}

CHECK(core_grace, it_never_has_a_cpu__is_ended_after_its_grace)
{
    mp__core_job job;
    overdue_without_cpu(&job);
    at(mp__core_now(core) + job.grace_ns - 1);
    cr_assert_not(asked_of(MP__ACT_END, 0));
    at(mp__core_now(core) + 1);
    cr_assert(asked_of(MP__ACT_END, 0));
    pool_ends();
}

/* --- by force ---------------------------------------------------------------------------------------------------------- */

CHECK(core_force, one_runs__the_rest_ends_and_its_worker_is_ended)
{
    mp__core_job job = {.n = 100, .chunksize = 5};
    one_worker_runs(&job);
    cancel_by_force(&job);
    cr_assert(failed(0, 10, 90, MP_ECANCELLED));
    recalled(0, 2);
    cr_assert(failed(0, 2, 8, MP_ECANCELLED));
    cr_assert(asked_of(MP__ACT_CANCEL, 0) && asked_of(MP__ACT_WATCH, 0) && !asked_of(MP__ACT_END, 0));
    progress(0, 2, false);
    cr_assert_eq(asked(MP__ACT_END, 0)->ordinal, 2);
    ended(0, true);
    results(0, 1);
    lost(0, 2);
    cr_assert(failed(0, 1, 1, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->slot == 0);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_force, the_task_looks__has_its_grace)
{
    mp__core_job job = {.n = 1, .grace_ns = 5 * MS};
    one_worker_runs(&job);
    cancel_by_force(&job);
    recalled(0, 1);
    progress(0, 1, true);
    cr_assert_null(asked(MP__ACT_END, 0));
    at(5 * MS);
    cr_assert(asked_of(MP__ACT_END, 0));
    pool_ends();
}

CHECK(core_force, it_has_had_no_cpu__is_asked_until_it_had)
{
    mp__core_job job = {.n = 1};
    one_worker_runs(&job);
    cancel_by_force(&job);
    recalled(0, 1);
    progress(0, 1, MP__HEED_UNKNOWN);
    cr_assert_not(asked_of(MP__ACT_END, 0));
    at(mp__core_now(core) + tick);
    cr_assert(asked_of(MP__ACT_WATCH, 0), "though it has no time-out");
    progress(0, 1, MP__HEED_NO);
    cr_assert(asked_of(MP__ACT_END, 0));
    pool_ends();
}

CHECK(core_force, nothing_of_it_runs__no_worker_is_touched)
{
    mp__core_job a = {.n = 1}, b = {.n = 5, .chunksize = 5};
    pool_runs(1);
    items_take(1000);
    submit_job(&a);
    submit_job(&b);
    cancel_by_force(&b);
    if (asked_of(MP__ACT_RECALL, 0))
        recalled(0, 1);
    cr_assert_null(asked(MP__ACT_WATCH, 0));
    cr_assert_null(asked(MP__ACT_CANCEL, 0));
    results(0, 1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_force, after_a_soft_cancel__what_runs_is_ended_all_the_same)
{
    mp__core_job job = {.n = 1};
    one_worker_runs(&job);
    cancel(&job);
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0) && !asked_of(MP__ACT_WATCH, 0));
    mp__core_cancel(core, &job, MP_ETIMEDOUT, true);
    act();
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    progress(0, 1, false);
    ended(0, true);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ETIMEDOUT), "that is what has ended it");
    pool_ends();
}

CHECK(core_force, quiet_job__is_told_all_the_same)
{
    mp__core_job job = {.n = 1, .quiet = true};
    one_worker_runs(&job);
    cancel(&job);
    recalled(0, 1);
    cr_assert_not(asked_of(MP__ACT_CANCEL, 0));
    cancel_by_force(&job);
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    pool_ends();
}

CHECK(core_force, nobody_can_say_what_runs__is_asked_again)
{
    mp__core_job job = {.n = 2, .chunksize = 2};
    one_worker_runs(&job);
    cancel_by_force(&job);
    recalled(0, MP__UNKNOWN);
    cr_assert_null(asked(MP__ACT_WATCH, 0));
    at(mp__core_deadline(core));
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_WATCH, 0));
    pool_ends();
}

/* --- deadlines --------------------------------------------------------------------------------------------------------- */

CHECK(core_deadline, it_passes__what_waits_ends_at_once_and_what_runs_is_overdue)
{
    mp__core_job job = {.n = 100, .chunksize = 1, .deadline = 30 * MS};
    one_worker_runs(&job);
    cr_assert_eq(mp__core_deadline(core), 30 * MS);
    at(30 * MS - 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    at(30 * MS);
    cr_assert(failed(0, 2, 98, MP_ETIMEDOUT) && asked(MP__ACT_FAIL, 0)->attempt == 0);
    recalled(0, 1);
    progress(0, 1, false);
    ended(0, true);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ETIMEDOUT));
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_deadline, it_has_passed_before__nothing_is_sent)
{
    mp__core_job job = {.n = 10, .deadline = 5};
    pool_runs(1);
    at(5);
    submit_job(&job);
    cr_assert_eq(sent[0], 0);
    cr_assert_eq(counts().finished, 10);
    for (size_t i = 0; i < asked_times(MP__ACT_FAIL); i++)
        cr_assert_eq(asked(MP__ACT_FAIL, i)->status, MP_ETIMEDOUT);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_deadline, all_ended_before__nothing_is_due)
{
    mp__core_job job = {.n = 1, .deadline = 30 * MS};
    one_worker_runs(&job);
    results(0, 1);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_deadline, open_job__takes_no_more_after_it)
{
    mp__core_job job = {.open = true, .deadline = 30 * MS};
    one_worker_runs(&job);
    at(30 * MS);
    cr_assert_eq(extend(&job, 1), MP_ETIMEDOUT);
    seal(&job);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

/* In an order that is neither theirs nor its reverse; some leave the heap before. */
CHECK(core_deadline, many_jobs__each_ends_at_its_own)
{
    enum { JOBS = 1000 };
    static mp__core_job jobs[JOBS];
    uint64_t told = 0;
    pool_starts(1);
    for (uint64_t i = 0; i < JOBS; i++) {
        jobs[i] = (mp__core_job){.n = 1, .deadline = (1 + i * 379 % JOBS) * 1000};
        submit_job(&jobs[i]);
    }
    for (int i = 0; i < JOBS; i += 3)
        cancel(&jobs[i]);
    for (uint64_t now = 1000; now <= JOBS * 1000; now += 1000) {
        at(now);
        for (size_t i = 0; i < asked_times(MP__ACT_FAIL); i++, told++)
            cr_assert_eq(asked(MP__ACT_FAIL, i)->job->pending, 0);
        cr_assert_leq(asked_times(MP__ACT_FAIL), 1);
    }
    cr_assert_eq(told, JOBS - (JOBS + 2) / 3);
    pool_ends();
}

/* --- spent lives ------------------------------------------------------------------------------------------------------- */

CHECK(core_spent, takes_items__retires_and_is_replaced)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 2, 1);
    mp__core_spent(core, 0, lives[0]);
    act();
    cr_assert(asked_of(MP__ACT_STOP, 0) && asked_of(MP__ACT_START, 1));
    cr_assert(asked_of(MP__ACT_RECALL, 0), "what it has not started is for the next");
    recalled(0, 1);
    ready(1);
    cr_assert_eq(sent[1], 0);
    results(0, 1);
    cr_assert_eq(sent[1], 1);
    results(1, 1);
    cr_assert_eq(counts().recycled, 1);
    mp__core_spent(core, 0, lives[0]);
    act();
    cr_assert_eq(counts().recycled, 1, "it leaves anyway");
    pool_ends();
}
