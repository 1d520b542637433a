/* Jobs that are more than an array: pinned to a place, or open; and results that come many at a time. */
#include "tests/unit/core_pool.h"

TestSuite(single, .timeout = 60);
TestSuite(core_jobs, .timeout = 60);

/* --- pinned ------------------------------------------------------------------------------------------------------------ */

CHECK(core_jobs, pinned__runs_in_its_place_and_nobody_waits_behind_it)
{
    mp__core_job pinned = {.n = 1, .pin = 2}, other;
    pool_starts(2);
    ready(0);
    submit_job(&pinned);
    cr_assert_eq(action_count, 0);
    submit(&other, 2, 0);
    cr_assert_eq(sent[0], 2);
    ready(1);
    cr_assert_eq(sent[1], 1);
    results(1, 1);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &pinned);
    pool_ends();
}

CHECK(core_jobs, pinned__its_turn_is_that_of_its_submission)
{
    mp__core_job first, pinned = {.n = 1, .pin = 1}, last;
    pool_runs(1);
    submit(&first, 3, 0);
    submit_job(&pinned);
    submit(&last, 3, 0);
    results(0, 3);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &first);
    results(0, 1);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &pinned);
    pool_ends();
}

CHECK(core_jobs, pinned__its_worker_dies_before_it_starts__the_next_one_there_gets_it)
{
    mp__core_job pinned = {.n = 1, .pin = 2};
    pool_runs(2);
    submit_job(&pinned);
    cr_assert_eq(sent[1], 1);
    lost(1, 0);
    cr_assert_eq(sent[0], 0);
    ready(1);
    cr_assert_eq(sent[1], 1);
    lost(1, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED), "it ran");
    pool_ends();
}

CHECK(core_jobs, pinned__waits_for_a_place_that_goes__is_cancelled)
{
    mp__core_job pinned = {.n = 1, .pin = 2};
    pool_starts(2);
    submit_job(&pinned);
    resize(1);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked_times(MP__ACT_DONE) == 1);
    pinned = (mp__core_job){.n = 1, .pin = 2};
    cr_assert_eq(submit_job(&pinned), MP_OK);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked_times(MP__ACT_DONE) == 1, "there is no such place");
    pool_ends();
}

CHECK(core_jobs, pinned__was_sent_to_a_place_that_goes__runs_there_or_is_cancelled)
{
    for (uint64_t started = 0; started < 2; started++) {
        mp__core_job pinned = {.n = 1, .pin = 2};
        pool_runs(2);
        submit_job(&pinned);
        resize(1);
        recalled(1, started);
        cr_assert_eq(asked_times(MP__ACT_FAIL), !started);
        if (started)
            results(1, 1);
        else
            cr_assert(failed(0, 0, 1, MP_ECANCELLED));
        cr_assert_eq(asked_times(MP__ACT_DONE), 1);
        pool_ends();
    }
}

CHECK(core_jobs, pinned__waits_behind_a_long_item__is_not_taken_back_for_others)
{
    mp__core_job long_one, pinned = {.n = 1, .pin = 1};
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&long_one, 1, 0);
    submit_job(&pinned);
    cr_assert_eq(sent[0], 2);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_jobs, pinned__others_are_taken_back_from_behind_it__it_returns_to_its_place)
{
    mp__core_job pinned = {.n = 1, .pin = 1}, job;
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&job, 4, 4);
    submit_job(&pinned);
    cr_assert_eq(sent[0], 5);
    at(MP__RECALL_NS);
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    cr_assert(sent[1] >= 1);
    while (counts().pending > 1)
        if (result(1) == SIZE_MAX)
            result(0);
    cr_assert_eq(result(0), 0);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &pinned);
    pool_ends();
}

CHECK(core_jobs, pinned__terminate__ends_with_the_others)
{
    mp__core_job pinned = {.n = 1, .pin = 1}, other = {.n = 1, .pin = 2};
    pool_starts(2);
    submit_job(&pinned);
    submit_job(&other);
    terminate_pool();
    cr_assert(failed(0, 0, 1, MP_ETERMINATED) && failed(1, 0, 1, MP_ETERMINATED) && asked_times(MP__ACT_DONE) == 2);
    pool_ends();
}

/* --- open -------------------------------------------------------------------------------------------------------------- */

CHECK(core_jobs, open__nothing_pending__is_done_only_when_sealed)
{
    mp__core_job job = {.open = true};
    pool_runs(1);
    cr_assert_eq(submit_job(&job), MP_OK);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    cr_assert_eq(extend(&job, 2), MP_OK);
    results(0, 2);
    cr_assert_eq(asked_times(MP__ACT_DONE), 0);
    cr_assert_eq(extend(&job, 1), MP_OK);
    cr_assert_eq(result(0), 2);
    cr_assert_eq(asked_times(MP__ACT_DONE), 0);
    seal(&job);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert(counts().accepted == 3 && counts().finished == 3);
    pool_ends();
}

CHECK(core_jobs, open__sealed_with_items_pending__is_done_with_the_last)
{
    mp__core_job job = {.n = 2, .open = true};
    pool_runs(1);
    submit_job(&job);
    seal(&job);
    cr_assert_eq(asked_times(MP__ACT_DONE), 0);
    results(0, 2);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_jobs, open__extended_piece_by_piece__every_item_runs_once)
{
    for (size_t chunksize = 0; chunksize < 5; chunksize += 2) {
        mp__core_job job = {.chunksize = chunksize, .open = true};
        bool seen[60] = {false};
        pool_runs(2);
        submit_job(&job);
        for (size_t n = 0; n < 60 || counts().pending;) {
            if (n < 60 && extend(&job, n % 3) == MP_OK)
                n += n % 3 ? n % 3 : (extend(&job, 1), 1);
            for (uint32_t slot = 0; slot < 2; slot++) {
                size_t index = result(slot);
                cr_assert(index == SIZE_MAX || (index < 64 && (index >= 60 || !seen[index])));
                if (index < 60)
                    seen[index] = true;
            }
        }
        seal(&job);
        cr_assert_eq(asked_times(MP__ACT_DONE), 1);
        pool_ends();
    }
}

CHECK(core_jobs, open__a_chunk_that_is_not_full__does_not_wait)
{
    mp__core_job job = {.chunksize = 64, .open = true};
    pool_runs(1);
    submit_job(&job);
    extend(&job, 1);
    cr_assert_eq(sent[0], 1);
    extend(&job, 1);
    cr_assert_eq(sent[0], 2);
    pool_ends();
}

CHECK(core_jobs, open__closed_pool__takes_more_and_ends_when_it_is_sealed)
{
    mp__core_job job = {.open = true};
    pool_runs(1);
    submit_job(&job);
    close_pool();
    cr_assert_eq(asked_times(MP__ACT_STOP), 0);
    cr_assert_eq(extend(&job, 1), MP_OK);
    results(0, 1);
    cr_assert_eq(asked_times(MP__ACT_STOP), 0);
    lost(0, 1);
    cr_assert_eq(asked_times(MP__ACT_START), 1, "more may come");
    ready(0);
    seal(&job);
    cr_assert_eq(asked_times(MP__ACT_STOP), 1);
    lost(0, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core_jobs, open__given_up__takes_nothing_and_the_core_ends_when_it_is_sealed)
{
    for (int breaks = 0; breaks < 2; breaks++) {
        mp__core_job job = {.n = 3, .open = true};
        pool_runs(1);
        submit_job(&job);
        if (breaks)
            mp__core_break(core);
        else
            mp__core_terminate(core);
        act();
        cr_assert(failed(0, 0, 2, breaks ? MP_EBROKEN : MP_ETERMINATED));
        cr_assert_eq(extend(&job, 1), breaks ? MP_EBROKEN : MP_ETERMINATED);
        terminate_pool();
        lost(0, 0);
        cr_assert_eq(mp__core_get_state(core), MP__TERMINATED);
        cr_assert_eq(asked_times(MP__ACT_DONE), 0);
        seal(&job);
        cr_assert_eq(asked_times(MP__ACT_DONE), 1);
        cr_assert_eq(mp__core_get_state(core), MP__ENDED);
        pool_ends();
    }
}

CHECK(core_jobs, open__more_items_than_can_be_counted__are_refused)
{
    mp__core_job job = {.n = SIZE_MAX - 5, .open = true};
    pool_starts(1);
    submit_job(&job);
    cr_assert_eq(extend(&job, 6), MP_ELIMIT);
    cr_assert_eq(extend(&job, 5), MP_OK);
    cr_assert_eq(extend(&job, 0), MP_OK);
    pool_ends();
}

/* --- results ----------------------------------------------------------------------------------------------------------- */

static size_t many(uint32_t slot, size_t count, mp__core_item *item)
{
    bool nonsense;
    size_t taken = mp__core_results(core, slot, lives[slot], count, item, &nonsense);
    cr_assert_not(nonsense);
    act();
    return taken;
}

CHECK(core_jobs, results__many_at_once__end_as_many_items)
{
    mp__core_job job;
    mp__core_item item;
    pool_runs(1);
    submit(&job, 10, 10);
    cr_assert(many(0, 4, &item) == 4 && item.job == &job && item.index == 0);
    cr_assert(many(0, 1, &item) == 1 && item.index == 4);
    cr_assert(many(0, 5, &item) == 5 && item.index == 5);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    cr_assert_eq(counts().finished, 10);
    pool_ends();
}

CHECK(core_jobs, results__over_two_jobs__are_told_apart)
{
    mp__core_job a, b;
    mp__core_item item;
    pool_runs(1);
    items_take(1000);
    submit(&a, 3, 3);
    submit(&b, 3, 3);
    cr_assert_eq(sent[0], 6);
    cr_assert(many(0, 5, &item) == 3 && item.job == &a);
    cr_assert(many(0, 2, &item) == 2 && item.job == &b && item.index == 0);
    pool_ends();
}

CHECK(core_jobs, results__more_than_were_sent__only_those_are_taken)
{
    mp__core_job job = {.n = 6, .chunksize = 6};
    mp__core_item item;
    bool nonsense;
    pool_runs(1);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    mp__core_sent(core, 0, 1);
    cr_assert_eq(mp__core_results(core, 0, 1, 6, &item, &nonsense), 2);
    cr_assert_not(nonsense);
    cr_assert_eq(mp__core_results(core, 0, 1, 4, &item, &nonsense), 0);
    cr_assert(nonsense);
    pool_ends();
}

CHECK(core_jobs, open__pieces_do_not_shrink_to_what_is_not_worth_a_wake_up)
{
    mp__core_job job = {.n = 0, .open = true}, slow = {.n = 0, .open = true};
    pool_runs(2);
    items_take(1000);
    cr_assert_eq(submit_job(&job), MP_OK);
    enum { PIECE = MP__PIECE_NS / 1000 };
    extend(&job, PIECE + 10);
    cr_assert(sent[0] == PIECE && sent[1] == 10);
    results(1, 10);
    results(0, PIECE);
    seal(&job);
    items_take(MP__PIECE_NS);
    cr_assert_eq(submit_job(&slow), MP_OK);
    extend(&slow, 4);
    cr_assert(sent[0] < PIECE + 4 && sent[1] > 10, "those that are long are shared out as ever");
    seal(&slow);
    pool_ends();
}

CHECK(core_jobs, busy__is_when_each_worker_has_more_than_one_item_under_way)
{
    mp__core_job job;
    pool_starts(2);
    cr_assert_not(mp__core_busy(core), "there is nobody");
    ready(0);
    ready(1);
    submit(&job, 4, 2);
    cr_assert(sent[0] == 2 && sent[1] == 2 && mp__core_busy(core));
    results(1, 1);
    cr_assert_not(mp__core_busy(core));
    results(1, 1);
    cr_assert_not(mp__core_busy(core));
    results(0, 2);
    pool_ends();
}

CHECK(core_jobs, hungry__is_when_a_call_that_comes_would_go_to_a_worker)
{
    mp__core_job jobs[12];
    pool_starts(2);
    cr_assert_not(mp__core_hungry(core), "there is nobody");
    ready(0);
    ready(1);
    cr_assert(mp__core_hungry(core));
    submit(&jobs[0], 1, 0);
    cr_assert(mp__core_hungry(core), "one is left");
    submit(&jobs[1], 1, 0);
    cr_assert_not(mp__core_hungry(core), "nobody knows how long they take");
    submit(&jobs[2], 1, 0);
    cr_assert_eq(sent[0] + sent[1], 2);
    cr_assert_not(mp__core_hungry(core));
    results(0, 1);
    cr_assert_eq(sent[0], 2, "what waits is the first to go there");
    results(0, 1);
    cr_assert(mp__core_hungry(core));
    results(1, 1);
    items_take(MP__ALONE_NS - 1);
    int n = 0;
    for (; n < 12 && mp__core_hungry(core); n++)
        submit(&jobs[n], 1, 0);
    cr_assert(sent[0] - 2 >= 2 && sent[1] - 1 >= 2, "short ones go behind each other, until each worker has a second one");
    cr_assert_eq(sent[0] - 2 + sent[1] - 1, (uint64_t)n, "and as long as it says so, none waits");
    items_take(2 * MP__ALONE_NS);
    uint64_t last = sent[1] - 1;
    results(0, sent[0] - 3);
    cr_assert_not(mp__core_hungry(core), "it has one that takes long");
    results(0, 1);
    cr_assert(mp__core_hungry(core));
    results(1, last);
    pool_ends();
}

CHECK(core_jobs, near__is_one_short_item_on_each_of_few_workers)
{
    enum { SPIN = 50000 };
    mp__core_job one, two;
    pool_runs(2);
    cr_assert_not(mp__core_is_near(core, 8, SPIN), "there is nothing to wait for");
    submit(&one, 1, 0);
    cr_assert(mp__core_is_near(core, 2, SPIN));
    cr_assert_not(mp__core_is_near(core, 1, SPIN), "its worker needs the only CPU");
    submit(&two, 1, 0);
    cr_assert(mp__core_is_near(core, 3, SPIN));
    cr_assert_not(mp__core_is_near(core, 2, SPIN));
    results(1, 1);
    items_take(SPIN);
    cr_assert(mp__core_is_near(core, 2, SPIN));
    items_take(2 * SPIN);
    cr_assert_not(mp__core_is_near(core, 2, SPIN));
    results(0, 1);
    items_take(1000);
    submit(&one, 4, 2);
    cr_assert_not(mp__core_is_near(core, 8, SPIN), "more than one are under way");
    pool_ends();
}

CHECK(core_jobs, unsent__are_ranges_of_one_job__and_may_be_sent_in_parts)
{
    mp__core_job a = {.n = 4, .chunksize = 4}, b = {.n = 3, .chunksize = 3};
    mp__core_item item;
    pool_runs(1);
    items_take(1000); /* there is room for both */
    cr_assert(mp__core_submit(core, &a) == MP_OK && mp__core_submit(core, &b) == MP_OK);
    cr_assert(mp__core_unsent(core, 0, &item) == 4 && item.job == &a && item.index == 0);
    mp__core_sent(core, 0, 3);
    cr_assert(mp__core_unsent(core, 0, &item) == 1 && item.job == &a && item.index == 3);
    mp__core_sent(core, 0, 1);
    cr_assert(mp__core_unsent(core, 0, &item) == 3 && item.job == &b && item.index == 0);
    mp__core_sent(core, 0, 2);
    check_core();
    cr_assert(many(0, 9, &item) == 4 && item.job == &a);
    cr_assert(many(0, 9, &item) == 3 && item.job == &b, "the last one was sent meanwhile");
    pool_ends();
}

CHECK(core_jobs, sent_as_many_as_a_life_may_have__it_retires)
{
    mp__core_job job = {.n = 5, .chunksize = 5};
    mp__core_item item;
    pool_runs_as(&(mp__core_config){.workers = 1, .tasks = 1, .life_items = 3});
    cr_assert_eq(mp__core_submit(core, &job), MP_OK);
    cr_assert_eq(mp__core_unsent(core, 0, &item), 3, "no more than it may have");
    mp__core_sent(core, 0, 3);
    check_core();
    cr_assert_eq(mp__core_unsent(core, 0, &item), 0);
    cr_assert_eq(counts().recycled, 1);
    pool_ends();
}

/* ---- calls of one item ---- */

CHECK(single, single_calls__of_unknown_length__one_for_each_worker_at_a_time)
{
    mp__core_job jobs[4];
    pool_starts(2);
    ready(0);
    for (uint32_t i = 0; i < 3; i++)
        submit(&jobs[i], 1, 0);
    cr_assert(sent[0] == 1);
    ready(1);
    cr_assert(sent[0] == 1 && sent[1] == 1);
    submit(&jobs[3], 1, 0);
    cr_assert(sent[0] == 1 && sent[1] == 1, "nobody has more than it runs");
    pool_ends();
}

CHECK(single, single_calls__stuck_behind_a_busy_worker__begin_before_later_ones)
{
    enum { MANY = MP__WINDOW_NS / MP__ALONE_NS + 2 }; /* more than a window */
    mp__core_job jobs[MANY];
    pool_starts(2);
    items_take(MP__ALONE_NS - 1);
    ready(0);
    for (uint32_t i = 0; i < MANY; i++)
        submit(&jobs[i], 1, 0);
    uint64_t first = sent[0];
    cr_assert(first > 1 && first < MANY, "%lu", (unsigned long)first);
    at(MP__RECALL_NS);
    ready(1);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    cr_assert_eq(sent[1], 0, "those behind come first");
    recalled(0, 1);
    cr_assert(sent[1] > 0);
    pool_ends();
}

/* --- what is not said --------------------------------------------------------------------------------------------------- */

CHECK(core_jobs, several_sent__may_hide_results_until_a_single_one_is_left)
{
    mp__core_job job;
    pool_runs(1);
    cr_assert_not(mp__core_may_hide(core));
    submit(&job, 3, 3);
    cr_assert_eq(sent[0], 3);
    cr_assert(mp__core_may_hide(core));
    results(0, 1);
    cr_assert(mp__core_may_hide(core));
    results(0, 1);
    cr_assert_not(mp__core_may_hide(core));
    results(0, 1);
    cr_assert_not(mp__core_may_hide(core));
    pool_ends();
}

CHECK(core_jobs, patient_job__hides_nothing_that_is_waited_for__another_behind_it_does)
{
    mp__core_job job = {.n = 3, .chunksize = 3, .patient = true}, other = {.n = 1};
    pool_runs(1);
    items_take(1000);
    submit_job(&job);
    cr_assert_eq(sent[0], 3);
    cr_assert_not(mp__core_may_hide(core));
    submit_job(&other);
    cr_assert_eq(sent[0], 4);
    cr_assert(mp__core_may_hide(core));
    results(0, 3);
    cr_assert_not(mp__core_may_hide(core));
    pool_ends();
}

CHECK(core_jobs, patient_job__may_hide_its_end_before_another_patient_one)
{
    mp__core_job first = {.n = 3, .chunksize = 3, .patient = true}, second = {.n = 2, .chunksize = 2, .patient = true};
    pool_runs(1);
    items_take(1000);
    submit_job(&first);
    submit_job(&second);
    cr_assert_eq(sent[0], 5);
    cr_assert(mp__core_may_hide(core));
    results(0, 2);
    cr_assert(mp__core_may_hide(core));
    results(0, 1);
    cr_assert_not(mp__core_may_hide(core), "what is left is of one job, whose end is said at once");
    results(0, 2);
    pool_ends();
}

CHECK(core_jobs, one_on_each_worker__hides_nothing)
{
    mp__core_job job;
    pool_runs(2);
    submit(&job, 2, 1);
    cr_assert(sent[0] == 1 && sent[1] == 1);
    cr_assert_not(mp__core_may_hide(core));
    results(0, 1);
    results(1, 1);
    pool_ends();
}

CHECK(core_jobs, life_that_is_over__hides_nothing)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 3, 3);
    lost(0, 1);
    cr_assert_not(mp__core_may_hide(core));
    ready(0);
    cr_assert(mp__core_may_hide(core));
    results(0, 2);
    pool_ends();
}
