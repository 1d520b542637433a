/* Items that must not start any more: cancelled jobs, and pools whose workers cannot be killed. */
#include "tests/unit/core_pool.h"

TestSuite(core_cancel, .timeout = 60);

/* --- cancel ------------------------------------------------------------------------------------------------------------ */

CHECK(core_cancel, waiting__ends_at_once)
{
    mp__core_job job;
    pool_starts(1);
    submit(&job, 100, 0);
    cancel(&job);
    cr_assert(failed(0, 0, 100, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->slot == MP__NO_SLOT);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_cancel, not_sent__ends_at_once_and_is_never_sent)
{
    mp__core_job job = {.n = 6, .chunksize = 6};
    mp__core_item item;
    pool_runs(1);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    mp__core_cancel(core, &job, MP_ECANCELLED, false);
    check_core();
    cr_assert_eq(mp__core_unsent(core, 0, &item), 0);
    act();
    cr_assert(failed(0, 1, 5, MP_ECANCELLED));
    pool_ends();
}

CHECK(core_cancel, sent_and_not_started__is_taken_back_and_what_runs_is_told)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 10, 5);
    cancel(&job);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0, "two chunks were sent, and that was all");
    cr_assert(asked_of(MP__ACT_RECALL, 0) && !asked_of(MP__ACT_CANCEL, 0));
    recalled(0, 3);
    cr_assert(failed(0, 3, 7, MP_ECANCELLED));
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    results(0, 3);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_cancel, another_job_runs__it_is_not_told_and_goes_on)
{
    mp__core_job a, b;
    pool_runs(1);
    items_take(1000);
    submit(&a, 3, 3);
    submit(&b, 3, 3);
    cancel(&b);
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    cr_assert(failed(0, 0, 3, MP_ECANCELLED) && asked_times(MP__ACT_FAIL) == 1);
    cr_assert_eq(asked_times(MP__ACT_CANCEL), 0);
    cr_assert_eq(sent[0], 6 + 2, "what came back of the first job is sent again");
    results(0, 3);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &a);
    pool_ends();
}

CHECK(core_cancel, what_runs_is_told_before_anything_else_is_sent)
{
    mp__core_job a, b;
    mp__core_item item;
    pool_runs(1);
    submit(&a, 1, 0);
    submit(&b, 3, 0);
    cancel(&a);
    mp__core_recalled(core, 0, lives[0], 1);
    check_core();
    cr_assert_eq(mp__core_unsent(core, 0, &item), 0);
    act();
    cr_assert(asked_of(MP__ACT_CANCEL, 0) && asked_of(MP__ACT_SEND, 0));
    cr_assert_gt(sent[0], 1);
    pool_ends();
}

CHECK(core_cancel, worker_cannot_say__is_asked_again_each_time_later)
{
    mp__core_job job;
    uint64_t now = 0, wait = MP__RECALL_NS;
    pool_runs(1);
    submit(&job, 2, 2);
    cancel(&job);
    for (int i = 0; i < 20; i++) {
        cr_assert(asked_of(MP__ACT_RECALL, 0));
        recalled(0, MP__UNKNOWN);
        cr_assert_eq(asked_times(MP__ACT_FAIL) + asked_times(MP__ACT_CANCEL), 0);
        wait = 2 * wait < MP__BACKOFF_MAX_NS ? 2 * wait : MP__BACKOFF_MAX_NS;
        cr_assert_eq(mp__core_deadline(core), now + wait);
        at(now += wait);
    }
    recalled(0, 1);
    cr_assert(failed(0, 1, 1, MP_ECANCELLED) && asked_of(MP__ACT_CANCEL, 0));
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_cancel, recall_under_way_already__its_answer_will_do)
{
    mp__core_job job;
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&job, 4, 4);
    at(MP__RECALL_NS);
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    cancel(&job);
    cr_assert_eq(action_count, 0);
    recalled(0, 1);
    cr_assert(failed(0, 1, 3, MP_ECANCELLED) && asked_of(MP__ACT_CANCEL, 0));
    pool_ends();
}

CHECK(core_cancel, worker_dies__what_it_had_not_started_ends_and_what_ran_has_crashed)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 4, 4);
    cancel(&job);
    lost(0, 2);
    cr_assert(failed(0, 0, 1, MP_ELOST) && failed(1, 1, 1, MP_ECRASHED) && failed(2, 2, 2, MP_ECANCELLED));
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_cancel, again_or_after_its_end__changes_nothing)
{
    mp__core_job job = {.n = 3, .open = true};
    pool_runs(1);
    submit_job(&job);
    cancel(&job);
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    cancel(&job);
    cr_assert_eq(action_count, 0);
    cr_assert_eq(extend(&job, 1), MP_ECANCELLED);
    recalled(0, 0);
    cr_assert_eq(asked_times(MP__ACT_DONE), 0, "it is not sealed");
    cancel(&job);
    seal(&job);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_cancel, closed_pool__ends_when_the_last_item_has_been_taken_back)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 2, 2);
    close_pool();
    cancel(&job);
    recalled(0, 0);
    cr_assert(failed(0, 0, 2, MP_ECANCELLED) && asked_of(MP__ACT_STOP, 0));
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

/* The chunk that there is stands behind the item that runs until it is told. */
CHECK(core_cancel, no_chunk_to_cut_with__what_runs_is_told_all_the_same)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .open = true}, other = {.n = 1, .open = true};
    pool_runs_as(&(mp__core_config){.workers = 1, .tasks = 1, .chunks = 1});
    submit_job(&job);
    submit_job(&other);
    cr_assert_eq(sent[0], 3);
    cancel(&job);
    recalled(0, 1);
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0, "they stay with the worker, not sent");
    cr_assert_eq(sent[0], 3);
    results(0, 1);
    cr_assert(failed(0, 1, 2, MP_ECANCELLED));
    cr_assert_eq(sent[0], 4, "the chunk is spare when that was told");
    pool_ends();
}

/* --- workers that cannot be killed ------------------------------------------------------------------------------------- */

static const mp__core_config threads = {.workers = 2, .tasks = 1, .unkillable = true};

CHECK(core_cancel, unkillable__terminate__what_waits_ends_and_what_runs_is_told_and_gives_its_result)
{
    mp__core_job a, b;
    pool_runs_as(&threads);
    submit(&a, 100, 2);
    submit(&b, 5, 0);
    cr_assert(sent[0] == 4 && sent[1] == 4);
    terminate_pool();
    cr_assert(failed(0, 8, 92, MP_ETERMINATED) && failed(1, 0, 5, MP_ETERMINATED));
    for (uint32_t slot = 0; slot < 2; slot++)
        cr_assert(asked_of(MP__ACT_RECALL, slot) && asked_of(MP__ACT_STOP, slot) && !asked_of(MP__ACT_KILL, slot));
    recalled(0, 2);
    cr_assert(failed(0, 2, 2, MP_ETERMINATED) && asked_of(MP__ACT_CANCEL, 0));
    recalled(1, 0);
    cr_assert(failed(0, 4, 4, MP_ETERMINATED) && !asked_of(MP__ACT_CANCEL, 1));
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    lost(1, 0);
    cr_assert_eq(asked_times(MP__ACT_START), 0);
    results(0, 2);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert_eq(mp__core_get_state(core), MP__TERMINATED);
    lost(0, 2);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    cr_assert_eq(counts().lost, 0);
    pool_ends();
}

CHECK(core_cancel, unkillable__terminate_again__changes_nothing)
{
    mp__core_job job;
    pool_runs_as(&threads);
    submit(&job, 4, 0);
    terminate_pool();
    terminate_pool();
    cr_assert_eq(action_count, 0);
    mp__core_break(core);
    act();
    cr_assert_eq(action_count, 0);
    cr_assert_eq(submit(&(mp__core_job){0}, 1, 0), MP_ECLOSED);
    pool_ends();
}

CHECK(core_cancel, unkillable__nobody_is_given_a_time_to_start_or_leave)
{
    pool_starts_as(&threads);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    ready(0);
    close_pool();
    cr_assert(asked_of(MP__ACT_STOP, 0) && action_count == 1);
    terminate_pool();
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    at(100 * MP__START_NS);
    cr_assert_eq(action_count, 0);
    ready(1);
    cr_assert(asked_of(MP__ACT_STOP, 1), "and no item");
    lost(0, 0);
    lost(1, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core_cancel, unkillable__not_told_to_start_yet__terminate__never_begins)
{
    core = mp__core_create(&threads);
    terminate_pool();
    cr_assert_eq(action_count, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core_cancel, unkillable__break__is_as_terminate)
{
    mp__core_job job;
    pool_runs_as(&threads);
    submit(&job, 2, 1);
    mp__core_break(core);
    act();
    cr_assert_eq(mp__core_get_state(core), MP__BROKEN);
    recalled(0, 1);
    recalled(1, 0);
    cr_assert(failed(0, 1, 1, MP_EBROKEN));
    cr_assert_eq(result(0), 0);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    lost(0, 1);
    lost(1, 0);
    cr_assert_eq(asked_times(MP__ACT_START), 0);
    terminate_pool();
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core_cancel, unkillable__condemned__is_counted_and_lives)
{
    mp__core_job job;
    pool_runs_as(&threads);
    condemn(0);
    cr_assert(action_count == 0 && counts().stale == 1 && counts().lost == 0);
    submit(&job, 1, 0);
    results(0, 1);
    pool_ends();
}

CHECK(core_cancel, unkillable__terminate_while_what_was_not_sent_cannot_be_cut__ends_with_the_last_result)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .open = true};
    pool_runs_as(&(mp__core_config){.workers = 1, .tasks = 1, .chunks = 1, .unkillable = true});
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    terminate_pool();
    cr_assert(asked_of(MP__ACT_STOP, 0) && asked_times(MP__ACT_FAIL) == 0);
    results(0, 1);
    cr_assert(failed(0, 1, 2, MP_ETERMINATED));
    lost(0, 1);
    cr_assert_eq(counts().lost, 0);
    seal(&job);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}
