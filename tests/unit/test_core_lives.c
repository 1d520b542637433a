/* Lives of workers: who is blamed for their end, what comes too late, and what happens when they come to nothing. */
#include "tests/unit/core_pool.h"

TestSuite(core_lives, .timeout = 60);

static const uint64_t MS = 1000000;

/* --- blame ------------------------------------------------------------------------------------------------------------- */

CHECK(core_lives, lost__one_was_started__exactly_this_one_is_blamed)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 20, 20);
    results(0, 7);
    lost(0, 8);
    cr_assert(failed(0, 7, 1, MP_ECRASHED));
    cr_assert(asked(MP__ACT_FAIL, 0)->slot == 0 && asked(MP__ACT_FAIL, 0)->generation == 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 1);
    ready(0);
    cr_assert_eq(first_sent[0], 8);
    for (size_t i = 8; i < 20; i++)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert(counts().accepted == 20 && counts().finished == 20);
    pool_ends();
}

CHECK(core_lives, lost__none_was_started__nobody_is_blamed)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 5, 5);
    results(0, 2);
    lost(0, 2);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    ready(0);
    for (size_t i = 2; i < 5; i++)
        cr_assert_eq(result(0), i);
    pool_ends();
}

CHECK(core_lives, lost__results_never_came__these_are_lost_and_the_last_is_blamed)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 9, 9);
    results(0, 1);
    lost(0, 5);
    cr_assert(failed(0, 1, 3, MP_ELOST) && failed(1, 4, 1, MP_ECRASHED) && asked_times(MP__ACT_FAIL) == 2);
    ready(0);
    cr_assert_eq(result(0), 5);
    pool_ends();
}

CHECK(core_lives, vanished__all_that_was_sent_is_lost_and_nobody_is_blamed)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 20, 20);
    results(0, 7);
    vanished(0);
    cr_assert(failed(0, 7, 13, MP_ELOST));
    cr_assert_eq(asked_times(MP__ACT_FAIL), 1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert_eq(counts().lost, 1);
    cr_assert(asked_of(MP__ACT_START, 0), "its place has not failed");
    pool_ends();
}

CHECK(core_lives, vanished__again_and_again__is_no_reason_to_give_up)
{
    pool_runs(1);
    for (int i = 0; i < 3 * MP__FAILURES_MAX; i++) {
        vanished(0);
        cr_assert(asked_of(MP__ACT_START, 0));
        ready(0);
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    pool_ends();
}

CHECK(core_lives, lost__started_reaches_over_jobs__each_item_of_each_job_is_told)
{
    mp__core_job a, b, c;
    pool_runs(1);
    for (int i = 0; i < 8; i++)
        mp__core_measured(core, &(mp__core_job){.task = 0}, 1, 1000);
    submit(&a, 2, 0);
    submit(&b, 2, 0);
    submit(&c, 2, 0);
    cr_assert_eq(sent[0], 6);
    lost(0, 4);
    cr_assert(failed(0, 0, 2, MP_ELOST) && asked(MP__ACT_FAIL, 0)->job == &a);
    cr_assert(failed(1, 0, 1, MP_ELOST) && asked(MP__ACT_FAIL, 1)->job == &b);
    cr_assert(failed(2, 1, 1, MP_ECRASHED) && asked(MP__ACT_FAIL, 2)->job == &b);
    cr_assert(asked(MP__ACT_DONE, 0)->job == &a && asked(MP__ACT_DONE, 1)->job == &b && asked_times(MP__ACT_DONE) == 2);
    pool_ends();
}

CHECK(core_lives, lost__rest__goes_to_the_front_in_order_whoever_brings_it)
{
    for (uint32_t first = 0; first < 2; first++) {
        mp__core_job job;
        pool_runs(2);
        submit(&job, 60, 5);
        cr_assert(first_sent[0] == 0 && last_sent[0] == 9 && first_sent[1] == 10 && last_sent[1] == 19);
        lost(first, 0);
        lost(!first, 0);
        ready(0);
        cr_assert(first_sent[0] == 0 && last_sent[0] == 9);
        ready(1);
        cr_assert(first_sent[1] == 10 && last_sent[1] == 19);
        pool_ends();
    }
}

CHECK(core_lives, lost__rest__goes_to_an_idle_worker_at_once)
{
    mp__core_job job;
    pool_runs(2);
    submit(&job, 2, 2);
    cr_assert(sent[0] == 2 && sent[1] == 0);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED));
    cr_assert(sent[1] == 1 && last_sent[1] == 1);
    cr_assert_eq(result(1), 1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_lives, lost__items_not_sent_yet__are_not_started_whatever_it_claims)
{
    mp__core_job job = {.n = 6, .chunksize = 6};
    pool_runs(1);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    mp__core_sent(core, 0, 1);
    lost(0, UINT64_MAX);
    cr_assert(failed(0, 0, 1, MP_ELOST) && failed(1, 1, 1, MP_ECRASHED));
    ready(0);
    cr_assert_eq(first_sent[0], 2);
    pool_ends();
}

CHECK(core_lives, lost__claims_less_than_it_has_told__is_taken_at_its_former_word)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 6, 6);
    results(0, 3);
    lost(0, 0);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    ready(0);
    cr_assert_eq(result(0), 3);
    pool_ends();
}

CHECK(core_lives, condemned__results_under_way__are_not_taken_and_never_run_again)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 5, 5);
    results(0, 1);
    condemn(0);
    cr_assert_eq(result(0), SIZE_MAX);
    lost(0, 3);
    cr_assert(failed(0, 1, 1, MP_ELOST) && failed(1, 2, 1, MP_ECRASHED));
    ready(0);
    cr_assert_eq(first_sent[0], 3);
    pool_ends();
}

/* --- what comes too late or from nobody -------------------------------------------------------------------------------- */

CHECK(core_lives, stale__every_event_of_a_former_life__is_dropped_and_counted)
{
    mp__core_job job;
    mp__core_item item;
    bool nonsense;
    pool_runs(1);
    submit(&job, 2, 0);
    lost(0, 0);
    ready(0);
    mp__core_ready(core, 0, 1);
    mp__core_start_failed(core, 0, 1);
    mp__core_lost(core, 0, 1, 1);
    mp__core_recalled(core, 0, 1, 1);
    mp__core_condemn(core, 0, 1);
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert_not(nonsense);
    cr_assert_not(mp__core_result(core, 7, 1, &item, &nonsense));
    cr_assert_not(nonsense);
    act();
    cr_assert_eq(action_count, 0);
    cr_assert_eq(counts().stale, 7);
    results(0, 2);
    pool_ends();
}

CHECK(core_lives, stale__answers_that_nobody_waits_for__are_counted)
{
    pool_runs(1);
    ready(0);
    recalled(0, 0);
    cr_assert_eq(counts().stale, 2);
    cr_assert_eq(action_count, 0);
    pool_ends();
}

CHECK(core_lives, result__of_nothing__is_nonsense)
{
    mp__core_job job;
    mp__core_item item;
    bool nonsense;
    pool_starts(1);
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert(nonsense, "before it was ready");
    ready(0);
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert(nonsense, "before it was sent anything");
    submit(&job, 2, 0);
    results(0, 2);
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert(nonsense, "one too many");
    terminate_pool();
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert_not(nonsense, "it is being killed: late, and no more than that");
    cr_assert_eq(counts().stale, 4);
    pool_ends();
}

CHECK(core_lives, result__of_an_item_not_sent_yet__is_nonsense)
{
    mp__core_job job = {.n = 2};
    mp__core_item item;
    bool nonsense;
    pool_runs(1);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    cr_assert(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert_not(mp__core_result(core, 0, 1, &item, &nonsense));
    cr_assert(nonsense);
    pool_ends();
}

/* --- lives that come to nothing ---------------------------------------------------------------------------------------- */

CHECK(core_lives, start_failures__back_off_and_break__at_exact_times)
{
    mp__core_job job;
    const uint64_t waits[] = {0, 10 * MS, 20 * MS, 40 * MS, 80 * MS};
    uint64_t now = 1000;
    pool_starts(1);
    at(now);
    submit(&job, 3, 0);
    for (size_t i = 0; i < 5; i++) {
        start_failed(0);
        if (waits[i]) {
            cr_assert_eq(action_count, 0);
            cr_assert_eq(mp__core_deadline(core), now + waits[i]);
            at(now + waits[i] - 1);
            cr_assert_eq(action_count, 0);
            at(now += waits[i]);
        }
        cr_assert_eq(asked_times(MP__ACT_START), 1);
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    start_failed(0);
    cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
    cr_assert(failed(0, 0, 3, MP_EBROKEN) && asked(MP__ACT_FAIL, 0)->slot == MP__NO_SLOT);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

/* Fails each slot when it is due, one of two always being in the middle of a start. */
CHECK(core_lives, start_failures__never_all_empty_at_a_time__break_all_the_same)
{
    uint64_t now = 0;
    uint32_t failures = 0;
    pool_starts(2);
    while (mp__core_get_state(core) == MP__RUNNING && failures < 100) {
        uint32_t slot = failures++ % 2;
        start_failed(slot);
        if (mp__core_deadline(core) != MP__NEVER)
            at(now = mp__core_deadline(core) > now ? mp__core_deadline(core) : now);
    }
    cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
    cr_assert_leq(failures, 2 * MP__FAILURES_MAX);
    cr_assert_eq(asked_times(MP__ACT_KILL), 1, "the one that was being started");
    pool_ends();
}

CHECK(core_lives, start_failures__another_slot_lives__do_not_break)
{
    uint64_t now = 0;
    pool_starts(2);
    ready(1);
    for (int i = 0; i < 30; i++) {
        start_failed(0);
        if (!asked(MP__ACT_START, 0))
            at(now = mp__core_deadline(core));
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    start_failed(0);
    cr_assert_eq(mp__core_deadline(core), now + MP__BACKOFF_MAX_NS);
    pool_ends();
}

CHECK(core_lives, death_before_the_first_item__counts_as_a_failure)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 3, 0);
    for (int i = 0; i < MP__FAILURES_MAX; i++) {
        cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
        lost(0, 0);
        if (mp__core_deadline(core) != MP__NEVER)
            at(mp__core_deadline(core));
        if (asked(MP__ACT_START, 0))
            ready(0);
    }
    cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
    pool_ends();
}

CHECK(core_lives, death_in_an_item__is_no_failure_and_is_replaced_at_once)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 50, 0);
    for (size_t i = 0; i < 50; i++) {
        lost(0, 1);
        cr_assert(failed(0, i, 1, MP_ECRASHED));
        cr_assert_eq(asked_times(MP__ACT_START), 1);
        ready(0);
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    pool_ends();
}

CHECK(core_lives, death_while_idle__backs_off_and_never_breaks)
{
    pool_runs(1);
    for (int i = 0; i < 50; i++) {
        lost(0, 0);
        if (!asked(MP__ACT_START, 0)) {
            cr_assert_leq(mp__core_deadline(core), 50 * 80 * MS);
            at(mp__core_deadline(core));
        }
        cr_assert_eq(asked_times(MP__ACT_START), 1);
        ready(0);
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    lost(0, 0);
    cr_assert_eq(action_count, 0, "it waits");
    pool_ends();
}

CHECK(core_lives, death_while_idle_after_a_good_while__is_replaced_at_once)
{
    pool_runs(1);
    for (uint64_t i = 1; i <= 50; i++) {
        at(i * MP__BACKOFF_MAX_NS);
        lost(0, 0);
        cr_assert_eq(asked_times(MP__ACT_START), 1);
        ready(0);
    }
    pool_ends();
}

CHECK(core_lives, start_that_never_answers__is_killed_and_tried_again)
{
    pool_starts(1);
    cr_assert_eq(mp__core_deadline(core), MP__START_NS);
    at(MP__START_NS);
    cr_assert(asked(MP__ACT_KILL, 0) && asked(MP__ACT_KILL, 0)->hard);
    lost(0, 0);
    cr_assert_eq(asked_times(MP__ACT_START), 1);
    pool_ends();
}

CHECK(core_lives, condemned_while_starting__counts_as_a_failure)
{
    pool_starts(1);
    for (int i = 0; i < MP__FAILURES_MAX; i++) {
        cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
        condemn(0);
        lost(0, 0);
        if (mp__core_deadline(core) != MP__NEVER)
            at(mp__core_deadline(core));
    }
    cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
    pool_ends();
}

CHECK(core_lives, success__makes_former_failures_forgotten)
{
    mp__core_job job;
    pool_starts(1);
    start_failed(0);
    start_failed(0);
    start_failed(0);
    at(mp__core_deadline(core));
    ready(0);
    submit(&job, 2, 0);
    results(0, 1);
    lost(0, 1);
    cr_assert_eq(asked_times(MP__ACT_START), 1, "at once: its life was not for nothing");
    start_failed(0);
    cr_assert_eq(asked_times(MP__ACT_START), 1, "at once: it is the first failure again");
    pool_ends();
}
