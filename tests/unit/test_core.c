/* The core's states and how it ends. Lives and who is blamed for their end: test_core_lives.c; who gets what: test_plan.c;
 * random histories: sim_core.c. */
#include "serial/memory.h"
#include "tests/unit/core_pool.h"

TestSuite(core, .timeout = 60);

/* --- a slot's states --------------------------------------------------------------------------------------------------- */

CHECK(core, create__every_slot_is_started)
{
    pool_starts(3);
    cr_assert_eq(asked_times(MP__ACT_START), 3);
    cr_assert_eq(action_count, 3);
    for (size_t i = 0; i < 3; i++)
        cr_assert(asked(MP__ACT_START, i)->slot == i && asked(MP__ACT_START, i)->generation == 1);
    cr_assert_not(mp__core_all_ready(core));
    pool_ends();
}

CHECK(core, starting__ready__is_counted)
{
    pool_starts(2);
    ready(1);
    cr_assert_eq(counts().ready, 1);
    cr_assert_not(mp__core_all_ready(core));
    ready(0);
    cr_assert(mp__core_all_ready(core));
    cr_assert_eq(action_count, 0);
    pool_ends();
}

CHECK(core, starting__lost__is_started_again_under_the_next_generation)
{
    pool_starts(1);
    lost(0, 0);
    cr_assert_eq(asked(MP__ACT_START, 0)->generation, 2);
    cr_assert_eq(counts().lost, 1);
    cr_assert_eq(counts().started, 2);
    pool_ends();
}

CHECK(core, starting__start_failed__is_started_again_and_not_counted_lost)
{
    pool_starts(1);
    start_failed(0);
    cr_assert_eq(asked(MP__ACT_START, 0)->generation, 2);
    cr_assert_eq(counts().lost, 0);
    pool_ends();
}

CHECK(core, starting__terminate__is_killed_softly)
{
    pool_starts(1);
    terminate_pool();
    cr_assert(asked(MP__ACT_KILL, 0) && !asked(MP__ACT_KILL, 0)->hard);
    cr_assert_eq(mp__core_get_state(core), MP__TERMINATED);
    start_failed(0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    cr_assert_eq(action_count, 0);
    pool_ends();
}

CHECK(core, starting_and_not_told_yet__terminate_or_close__never_begins)
{
    for (int close = 0; close < 2; close++) {
        core = mp__core_create(&(mp__core_config){.workers = 2, .tasks = 1});
        if (close)
            close_pool();
        else
            terminate_pool();
        cr_assert_eq(action_count, 0);
        cr_assert_eq(mp__core_get_state(core), MP__ENDED);
        cr_assert_eq(counts().started, 0);
        pool_ends();
    }
}

CHECK(core, ready_and_idle__lost__is_replaced_and_nobody_blamed)
{
    pool_runs(2);
    lost(1, 0);
    cr_assert_eq(action_count, 1);
    cr_assert(asked(MP__ACT_START, 0)->slot == 1 && asked(MP__ACT_START, 0)->generation == 2);
    pool_ends();
}

CHECK(core, ready__close__is_stopped_and_lost_by_wish)
{
    pool_runs(1);
    close_pool();
    cr_assert(asked_times(MP__ACT_STOP) == 1 && action_count == 1);
    cr_assert_eq(mp__core_get_state(core), MP__CLOSED);
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    cr_assert_eq(counts().lost, 0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core, stopping__does_not_leave__is_killed_hard_after_the_grace)
{
    pool_runs(1);
    at(5);
    close_pool();
    cr_assert_eq(mp__core_deadline(core), 5 + MP__GRACE_NS);
    at(5 + MP__GRACE_NS - 1);
    cr_assert_eq(action_count, 0);
    at(5 + MP__GRACE_NS);
    cr_assert(asked_times(MP__ACT_KILL) == 1 && asked(MP__ACT_KILL, 0)->hard);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, killed__does_not_leave__is_killed_hard_once)
{
    pool_runs(2);
    at(7);
    terminate_pool();
    cr_assert_eq(asked_times(MP__ACT_KILL), 2);
    lost(0, 0);
    at(7 + MP__GRACE_NS - 1);
    cr_assert_eq(action_count, 0);
    at(7 + MP__GRACE_NS);
    cr_assert(asked_times(MP__ACT_KILL) == 1 && asked(MP__ACT_KILL, 0)->slot == 1 && asked(MP__ACT_KILL, 0)->hard);
    at(9 + 5 * MP__GRACE_NS);
    cr_assert_eq(action_count, 0);
    lost(1, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, starting__close__is_stopped_when_it_is_ready)
{
    pool_starts(1);
    close_pool();
    cr_assert_eq(action_count, 0);
    ready(0);
    cr_assert_eq(asked_times(MP__ACT_STOP), 1);
    pool_ends();
}

CHECK(core, starting_for_ever__close__is_killed_hard_after_the_grace)
{
    pool_starts(1);
    close_pool();
    cr_assert_eq(mp__core_deadline(core), MP__GRACE_NS);
    at(MP__GRACE_NS);
    cr_assert(asked_times(MP__ACT_KILL) == 1 && asked(MP__ACT_KILL, 0)->hard);
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

/* Else who cancels it is told that it never starts, which it has. */
CHECK(core, item_on_a_worker_that_is_killed__is_found_until_it_is_lost)
{
    mp__core_job job;
    uint32_t slot = 7;
    uint64_t ordinal = 0;
    pool_runs(1);
    submit(&job, 3, 3);
    results(0, 1);
    condemn(0);
    cr_assert_not(mp__core_find(core, &job, 0, &slot, &ordinal), "it has its result");
    cr_assert(mp__core_find(core, &job, 2, &slot, &ordinal));
    cr_assert(slot == 0 && ordinal == 3);
    lost(0, 3);
    cr_assert_not(mp__core_find(core, &job, 2, &slot, &ordinal));
    pool_ends();
}

CHECK(core, nonsense__condemned__is_killed_hard_at_once_and_replaced)
{
    pool_runs(1);
    condemn(0);
    cr_assert(asked_times(MP__ACT_KILL) == 1 && asked(MP__ACT_KILL, 0)->hard);
    cr_assert_eq(counts().lost, 1);
    condemn(0);
    cr_assert_eq(action_count, 0);
    lost(0, 0);
    cr_assert_eq(asked_times(MP__ACT_START), 1);
    cr_assert_eq(counts().lost, 1);
    pool_ends();
}

/* --- the core's states ------------------------------------------------------------------------------------------------- */

CHECK(core, submit__by_state__is_taken_or_refused)
{
    mp__core_job job;
    pool_runs(1);
    cr_assert_eq(submit(&job, 1, 0), MP_OK);
    close_pool();
    cr_assert_eq(submit(&(mp__core_job){0}, 1, 0), MP_ECLOSED);
    terminate_pool();
    cr_assert_eq(submit(&(mp__core_job){0}, 1, 0), MP_ECLOSED);
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    cr_assert_eq(submit(&(mp__core_job){0}, 1, 0), MP_ECLOSED);
    pool_ends();
    pool_runs(1);
    mp__core_break(core);
    act();
    cr_assert_eq(submit(&job, 1, 0), MP_EBROKEN);
    cr_assert_eq(counts().accepted, 0);
    pool_ends();
}

CHECK(core, submit__no_items__is_answered_by_state_and_never_taken)
{
    mp__core_job none = {0};
    pool_runs(1);
    cr_assert_eq(mp__core_submit(core, &none), MP_OK);
    act();
    cr_assert_eq(action_count, 0);
    close_pool();
    cr_assert_eq(mp__core_submit(core, &none), MP_ECLOSED);
    pool_ends();
}

CHECK(core, break__running__items_end_and_only_the_user_ends_the_pool)
{
    mp__core_job job;
    for (int close = 0; close < 2; close++) {
        pool_runs(1);
        submit(&job, 9, 0);
        mp__core_break(core);
        act();
        cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
        cr_assert(failed(0, 0, 2, MP_EBROKEN) && failed(1, 2, 7, MP_EBROKEN));
        cr_assert(asked_times(MP__ACT_DONE) == 1 && asked_times(MP__ACT_KILL) == 1);
        lost(0, 1);
        cr_assert_eq(action_count, 0);
        cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
        if (close)
            close_pool();
        else
            terminate_pool();
        cr_assert_eq(mp__core_get_state(core), MP__ENDED);
        pool_ends();
    }
}

CHECK(core, break__closed__ends_with_the_last_worker)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 1, 0);
    close_pool();
    mp__core_break(core);
    act();
    cr_assert(failed(0, 0, 1, MP_EBROKEN));
    cr_assert_eq(mp__core_get_state(core), MP__TERMINATED);
    lost(0, 1);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, end__said_again__changes_nothing)
{
    pool_runs(1);
    close_pool();
    close_pool();
    cr_assert_eq(action_count, 0);
    terminate_pool();
    cr_assert_eq(asked_times(MP__ACT_KILL), 1);
    close_pool();
    terminate_pool();
    mp__core_break(core);
    act();
    cr_assert_eq(action_count, 0);
    cr_assert_eq(mp__core_get_state(core), MP__TERMINATED);
    lost(0, 0);
    terminate_pool();
    mp__core_break(core);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, close__work_left__is_done_before_workers_are_stopped)
{
    mp__core_job job;
    pool_runs(2);
    submit(&job, 9, 0);
    close_pool();
    cr_assert_eq(asked_times(MP__ACT_STOP), 0);
    while (counts().pending > 1)
        for (uint32_t slot = 0; slot < 2 && counts().pending > 1; slot++)
            result(slot);
    cr_assert_eq(asked_times(MP__ACT_STOP), 0);
    if (result(0) == SIZE_MAX)
        result(1);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert_eq(asked_times(MP__ACT_STOP), 2);
    pool_ends();
}

CHECK(core, close__worker_lost_with_work_left__is_replaced)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 3, 0);
    close_pool();
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED));
    cr_assert_eq(asked_times(MP__ACT_START), 1);
    ready(0);
    results(0, 2);
    cr_assert_eq(asked_times(MP__ACT_STOP), 1);
    lost(0, 2);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, close__last_item_ends_by_a_death__pool_ends)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 1, 0);
    close_pool();
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED));
    cr_assert_eq(asked_times(MP__ACT_START), 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

/* --- terminate --------------------------------------------------------------------------------------------------------- */

CHECK(core, terminate__every_item_gets_its_end__fresh_returned_and_running)
{
    mp__core_job a, b;
    size_t ended = 0;
    pool_runs(2);
    submit(&a, 100, 5);
    submit(&b, 7, 0);
    results(0, 3);
    lost(1, 0);
    terminate_pool();
    for (size_t i = 0; asked(MP__ACT_FAIL, i); i++) {
        cr_assert(asked(MP__ACT_FAIL, i)->status == MP_ETERMINATED && asked(MP__ACT_FAIL, i)->slot == MP__NO_SLOT);
        ended += asked(MP__ACT_FAIL, i)->count;
    }
    cr_assert_eq(ended, 100 - 3 + 7);
    cr_assert_eq(asked_times(MP__ACT_DONE), 2);
    cr_assert_eq(counts().pending, 0);
    cr_assert(asked_times(MP__ACT_KILL) == 2 && !asked(MP__ACT_KILL, 0)->hard);
    pool_ends();
}

CHECK(core, terminate__what_workers_still_tell__is_dropped)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 5, 5);
    terminate_pool();
    cr_assert_eq(result(0), SIZE_MAX);
    lost(0, 2);
    cr_assert_eq(action_count, 0);
    cr_assert(counts().finished == 5 && counts().stale == 1);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core, ends__are_told_before_the_job_is_done_and_that_before_the_rest)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 2, 0);
    results(0, 1);
    terminate_pool();
    cr_assert_eq(action_count, 3);
    cr_assert(actions[0].kind == MP__ACT_FAIL && actions[1].kind == MP__ACT_DONE && actions[2].kind == MP__ACT_KILL);
    pool_ends();
}

/* --- limits ------------------------------------------------------------------------------------------------------------ */

CHECK(core, huge_job__costs_nothing)
{
    mp__core_job job, other;
    pool_runs(2);
    cr_assert_eq(submit(&job, SIZE_MAX / 2, 0), MP_OK);
    results(0, 2);
    results(1, 1);
    lost(1, 2);
    terminate_pool();
    cr_assert_eq(counts().finished, SIZE_MAX / 2);
    cr_assert_leq(asked_times(MP__ACT_FAIL), 4);
    pool_ends();
    pool_starts(1);
    cr_assert_eq(submit(&job, SIZE_MAX, SIZE_MAX), MP_OK);
    cr_assert_eq(submit(&other, 1, 0), MP_ELIMIT);
    pool_ends();
}

/* Every job's last piece travels in the chunk inside it: a hundred jobs need none of the one that there is. */
CHECK(core, many_small_jobs__need_no_chunks)
{
    static mp__core_job jobs[100];
    core = mp__core_create(&(mp__core_config){.workers = 1, .tasks = 1, .chunks = 1});
    act();
    ready(0);
    for (int i = 0; i < 20; i++)
        mp__core_measured(core, &(mp__core_job){.task = 0}, 1, 100);
    for (size_t i = 0; i < 100; i++)
        submit(&jobs[i], 1, 0);
    cr_assert_eq(sent[0], 100);
    for (size_t i = 0; i < 100; i++) {
        results(0, 1);
        cr_assert(asked_times(MP__ACT_DONE) == 1 && asked(MP__ACT_DONE, 0)->job == &jobs[i]);
    }
    pool_ends();
}

static unsigned allocations_left;

static void *failing_calloc(size_t count, size_t size)
{
    return allocations_left && allocations_left-- ? calloc(count, size) : NULL;
}

CHECK(core, create__no_memory__is_null_and_leaks_nothing)
{
    mp__memory.calloc = failing_calloc;
    unsigned n = 0;
    do {
        allocations_left = n;
        core = mp__core_create(&(mp__core_config){.workers = 4, .tasks = 1});
    } while (!core && ++n < 100);
    cr_assert_eq(n, 6);
    mp__memory.calloc = calloc;
    pool_ends();
    mp__core_free(&core);
}
