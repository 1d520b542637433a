/* Who gets what, and what is taken back. */
#include "tests/unit/core_pool.h"

TestSuite(plan, .timeout = 60);

/* --- windows ----------------------------------------------------------------------------------------------------------- */

CHECK(plan, unknown_time__two_items_at_a_time)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 100, 0);
    cr_assert_eq(sent[0], 2);
    results(0, 1);
    cr_assert_eq(sent[0], 3);
    pool_ends();
}

CHECK(plan, window__doubles_with_each_measurement_and_is_capped)
{
    size_t window = 2;
    for (unsigned measurements = 1; measurements < 20; measurements++) {
        mp__core_job job;
        pool_runs(1);
        for (unsigned i = 0; i < measurements; i++)
            mp__core_measured(core, &(mp__core_job){.task = 0}, 1, 1);
        submit(&job, 1000000, 0);
        window = 2 * window < MP__WINDOW_ITEMS ? 2 * window : MP__WINDOW_ITEMS;
        cr_assert_eq(sent[0], window, "%zu after %u measurements", (size_t)sent[0], measurements);
        pool_ends();
    }
    cr_assert_eq(window, MP__WINDOW_ITEMS);
}

CHECK(plan, window__is_what_is_done_in_its_time__and_at_least_two)
{
    const struct {
        uint64_t ns;
        size_t window;
    } cases[] = {{10000, MP__WINDOW_NS / 10000},
                 {MP__WINDOW_NS / 4, 4},
                 {MP__WINDOW_NS * 2 / 5, 2},
                 {MP__WINDOW_NS, 2},
                 {1000000000, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mp__core_job job;
        pool_runs(1);
        items_take(cases[i].ns);
        submit(&job, 100000, 0);
        cr_assert_eq(sent[0], cases[i].window, "%zu items of %zu ns", (size_t)sent[0], (size_t)cases[i].ns);
        pool_ends();
    }
}

CHECK(plan, window__is_topped_up_when_down_to_half)
{
    mp__core_job job;
    pool_runs(1);
    items_take(MP__WINDOW_NS / 40);
    submit(&job, 1000, 0);
    cr_assert_eq(sent[0], 40);
    results(0, 19);
    cr_assert_eq(sent[0], 40);
    results(0, 1);
    cr_assert_eq(sent[0], 60);
    pool_ends();
}

CHECK(plan, absurd_times__are_survived)
{
    mp__core_job job;
    pool_runs(1);
    const uint64_t absurd[] = {UINT64_MAX, UINT64_MAX, 1ull << 63, 1ull << 63, 0, 0, 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        mp__core_measured(core, &(mp__core_job){.task = 0}, 1, absurd[i]);
        mp__core_measured(core, &(mp__core_job){.task = 0}, UINT64_MAX, absurd[i]);
        mp__core_measured(core, &(mp__core_job){.task = 0}, 0, absurd[i]);
        check_core();
    }
    submit(&job, 10, 0);
    results(0, 10);
    pool_ends();
}

CHECK(plan, times__are_known_by_task)
{
    mp__core_job job = {.n = 100, .task = 1};
    pool_runs(1);
    items_take(1000);
    mp__core_submit(core, &job);
    act();
    cr_assert_eq(sent[0], 2);
    pool_ends();
}

/* --- shares ------------------------------------------------------------------------------------------------------------ */

CHECK(plan, few_items__every_worker_gets_one)
{
    mp__core_job job;
    pool_runs(4);
    items_take(1000);
    submit(&job, 4, 0);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(sent[i], 1);
    pool_ends();
}

CHECK(plan, end_of_a_job__pieces_shrink_with_what_is_left)
{
    mp__core_job job;
    pool_runs(2);
    items_take(1000);
    submit(&job, 100, 0);
    cr_assert_lt(sent[0], 51);
    cr_assert_gt(100 - sent[0] - sent[1], 20, "some is kept for who is done first");
    pool_ends();
}

CHECK(plan, new_worker__gets_its_share)
{
    mp__core_job job;
    pool_starts(2);
    ready(0);
    submit(&job, 100, 0);
    cr_assert(sent[0] == 2 && sent[1] == 0);
    ready(1);
    cr_assert_eq(sent[1], 2);
    pool_ends();
}

CHECK(plan, chunksize__is_obeyed__pieces_are_multiples)
{
    const size_t sizes[] = {1, 3, 7, 50};
    for (size_t k = 0; k < 4; k++) {
        mp__core_job job;
        size_t done[2] = {0}, before[2] = {0};
        pool_runs(2);
        items_take(1000 * (k + 1));
        submit(&job, 500, sizes[k]);
        for (uint32_t slot = 0; counts().pending; slot = !slot) {
            for (uint32_t i = 0; i < 2; i++) {
                bool last = last_sent[i] == 499;
                cr_assert(last || (sent[i] - before[i]) % sizes[k] == 0, "a piece of %zu", (size_t)(sent[i] - before[i]));
                before[i] = sent[i];
            }
            if (done[slot] < sent[slot]) {
                results(slot, 1);
                done[slot]++;
            }
        }
        pool_ends();
    }
}

CHECK(plan, chunksize__n_or_more__one_worker_gets_all)
{
    const size_t sizes[] = {10, 11, SIZE_MAX / 2 + 1, SIZE_MAX};
    for (size_t k = 0; k < 4; k++) {
        mp__core_job job;
        pool_runs(2);
        submit(&job, 10, sizes[k]);
        cr_assert(sent[0] == 10 && sent[1] == 0);
        results(0, 10);
        cr_assert_eq(asked_times(MP__ACT_DONE), 1);
        pool_ends();
    }
}

CHECK(plan, chunksize__two_chunks_at_a_time)
{
    mp__core_job job;
    pool_runs(1);
    submit(&job, 100, 10);
    cr_assert_eq(sent[0], 20);
    pool_ends();
}

/* --- several jobs ------------------------------------------------------------------------------------------------------ */

CHECK(plan, jobs__are_served_in_order)
{
    mp__core_job a, b;
    pool_runs(1);
    submit(&a, 3, 0);
    submit(&b, 3, 0);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &a);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &b);
    pool_ends();
}

CHECK(plan, job_that_runs_out__the_next_one_fills_the_window)
{
    mp__core_job a, b;
    pool_runs(1);
    items_take(MP__WINDOW_NS / 40);
    submit(&a, 5, 0);
    submit(&b, 100, 0);
    cr_assert_eq(sent[0], 40);
    cr_assert_eq(last_sent[0], 34);
    pool_ends();
}

CHECK(plan, enough_of_the_first_job__none_of_the_second)
{
    mp__core_job a = {.n = 10, .task = 1}, b;
    pool_runs(1);
    items_take(1000);
    mp__core_submit(core, &a);
    act();
    submit(&b, 100, 0);
    cr_assert_eq(sent[0], 2, "the first job's window is full: its next items come before the second job's");
    results(0, 1);
    cr_assert_eq(last_sent[0], 2);
    pool_ends();
}

CHECK(plan, returned_items__go_before_fresh_ones_and_before_later_jobs)
{
    mp__core_job a, b;
    pool_runs(2);
    submit(&a, 20, 2);
    submit(&b, 5, 0);
    cr_assert(sent[0] == 4 && first_sent[1] == 4);
    lost(0, 0);
    results(1, 2);
    cr_assert(first_sent[1] == 0 && last_sent[1] == 1);
    results(1, 2);
    cr_assert(first_sent[1] == 2 && last_sent[1] == 3);
    results(1, 2);
    cr_assert(first_sent[1] == 8 && last_sent[1] == 9);
    pool_ends();
}

CHECK(plan, returned_items_of_an_older_job__go_before_a_newer_job)
{
    mp__core_job a, b;
    pool_runs(1);
    submit(&a, 2, 0);
    submit(&b, 9, 0);
    lost(0, 0);
    ready(0);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(result(0), i);
    cr_assert_eq(asked(MP__ACT_DONE, 0)->job, &a);
    pool_ends();
}

/* --- taking back ------------------------------------------------------------------------------------------------------- */

/* Slot 0 has had all eight items, of the time given, for long enough; slot 1 has just got ready. The time is MP__RECALL_NS. */
static mp__core_job tail;
static void one_has_all(uint64_t ns)
{
    pool_starts(2);
    items_take(ns);
    ready(0);
    submit(&tail, 8, 8);
    cr_assert_eq(sent[0], 8);
    at(MP__RECALL_NS);
    ready(1);
}

/* Results until there are no more: which slot has how many is not the question. */
static void all_ends_well(uint32_t slots)
{
    mp__core_item item;
    bool nonsense, any = true;
    while (counts().pending && any) {
        any = false;
        for (uint32_t slot = 0; slot < slots; slot++) {
            any |= mp__core_result(core, slot, lives[slot], &item, &nonsense);
            act();
        }
    }
    cr_assert_eq(counts().pending, 0);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
}

CHECK(plan, long_items__are_taken_back_at_once)
{
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&tail, 12, 1);
    at(10 * (uint64_t)MP__RECALL_NS);
    results(0, 1);
    while (!asked(MP__ACT_RECALL, 0))
        results(1, 1), at(10 * (uint64_t)MP__RECALL_NS);
    cr_assert_eq(asked(MP__ACT_RECALL, 0)->slot, 0);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(plan, long_items__just_handed_to_an_idle_worker__are_left_to_it_for_a_while)
{
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&tail, 8, 8);
    cr_assert(sent[0] == 8 && sent[1] == 0);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    cr_assert_eq(mp__core_deadline(core), MP__RECALL_NS);
    at(MP__RECALL_NS);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    pool_ends();
}

CHECK(plan, short_items__are_taken_back_when_their_worker_makes_no_progress)
{
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS - 1);
    submit(&tail, 8, 8);
    at(150000);
    results(0, 1);
    cr_assert_eq(mp__core_deadline(core), 150000 + MP__RECALL_NS);
    at(150000 + MP__RECALL_NS - 1);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    at(150000 + MP__RECALL_NS);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    pool_ends();
}

CHECK(plan, recalled__nothing_started__those_who_idled_before_come_first)
{
    one_has_all(MP__RECALL_ITEM_NS);
    recalled(0, 0);
    cr_assert_eq(first_sent[1], 0, "a stopped worker would get its own items back for ever");
    cr_assert_gt(sent[1], 1);
    cr_assert_lt(sent[1], 7, "what came back is shared, whatever the chunk size");
    all_ends_well(2);
    pool_ends();
}

CHECK(plan, recalled__some_started__these_stay_and_the_rest_goes)
{
    for (size_t started = 1; started < 8; started++) {
        one_has_all(MP__RECALL_ITEM_NS);
        recalled(0, started);
        cr_assert_eq(first_sent[1], started);
        for (size_t i = 0; i < started; i++)
            cr_assert_eq(result(0), i);
        all_ends_well(2);
        pool_ends();
    }
}

CHECK(plan, recalled__results_came_meanwhile__ordinals_count_from_the_first_of_the_life)
{
    one_has_all(MP__RECALL_ITEM_NS);
    results(0, 3);
    recalled(0, 4);
    cr_assert_eq(first_sent[1], 4);
    cr_assert_eq(result(0), 3);
    all_ends_well(2);
    pool_ends();
}

CHECK(plan, recalled__claims_more_or_less_than_can_be__is_limited)
{
    one_has_all(MP__RECALL_ITEM_NS);
    recalled(0, UINT64_MAX - 1);
    cr_assert_eq(sent[1], 0);
    results(0, 8);
    pool_ends();
    one_has_all(MP__RECALL_ITEM_NS);
    results(0, 3);
    recalled(0, 1);
    cr_assert_eq(first_sent[1], 3);
    pool_ends();
}

CHECK(plan, recalled__had_nothing_to_give__is_not_asked_again)
{
    one_has_all(MP__RECALL_ITEM_NS);
    recalled(0, 8);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    at(100 * (uint64_t)MP__RECALL_NS);
    results(0, 3);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    at(200 * (uint64_t)MP__RECALL_NS);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    pool_ends();
}

CHECK(plan, recalled__gave_what_it_had__can_be_asked_for_new_items)
{
    mp__core_job more;
    one_has_all(MP__RECALL_ITEM_NS);
    recalled(0, 8);
    at(10 * (uint64_t)MP__RECALL_NS);
    submit(&more, 1, 1);
    cr_assert_eq(sent[1], 1);
    results(1, 1);
    submit(&more, 16, 16);
    cr_assert_eq(sent[1], 17);
    results(0, 8);
    at(mp__core_deadline(core));
    cr_assert(asked_times(MP__ACT_RECALL) == 1 && asked(MP__ACT_RECALL, 0)->slot == 1);
    pool_ends();
}

CHECK(plan, recall__meanwhile_the_slot_gets_nothing)
{
    mp__core_job more;
    one_has_all(MP__RECALL_ITEM_NS);
    results(0, 7);
    submit(&more, 2, 1);
    cr_assert(sent[0] == 8 && sent[1] > 0);
    recalled(0, 8);
    pool_ends();
}

CHECK(plan, recall__has_unsent_items__they_are_given_back_too)
{
    mp__core_job job = {.n = 8, .chunksize = 8};
    pool_starts(2);
    items_take(MP__RECALL_ITEM_NS);
    ready(0);
    mp__core_submit(core, &job);
    mp__core_sent(core, 0, 1);
    mp__core_sent(core, 0, 1);
    mp__core_time(core, MP__RECALL_NS);
    mp__core_ready(core, 1, 1);
    act();
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    cr_assert_eq(mp__core_unsent(core, 0, &(mp__core_item){0}), 0, "nothing is sent behind a recall");
    recalled(0, 1);
    cr_assert_eq(first_sent[1], 1);
    results(0, 1);
    all_ends_well(2);
    pool_ends();
}

CHECK(plan, recall__the_worker_is_lost_first__the_answer_is_stale)
{
    one_has_all(MP__RECALL_ITEM_NS);
    lost(0, 2);
    cr_assert(failed(0, 0, 1, MP_ELOST) && failed(1, 1, 1, MP_ECRASHED));
    cr_assert_eq(first_sent[1], 2);
    mp__core_recalled(core, 0, 1, 2);
    act();
    cr_assert_eq(counts().stale, 1);
    ready(0);
    all_ends_well(2);
    pool_ends();
}

CHECK(plan, recall__the_pool_is_terminated_first__the_answer_is_stale)
{
    one_has_all(MP__RECALL_ITEM_NS);
    terminate_pool();
    cr_assert(failed(0, 0, 8, MP_ETERMINATED));
    recalled(0, 2);
    cr_assert(counts().stale == 1 && action_count == 0);
    lost(0, 2);
    lost(1, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(plan, recall__not_told_yet_and_all_is_over__is_never_told)
{
    pool_starts(2);
    items_take(MP__RECALL_ITEM_NS);
    ready(0);
    submit(&tail, 8, 8);
    at(MP__RECALL_NS);
    mp__core_ready(core, 1, 1);
    mp__core_terminate(core);
    act();
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    cr_assert_eq(asked_times(MP__ACT_KILL), 2);
    pool_ends();
}

CHECK(plan, recall__not_told_yet__an_answer_is_stale)
{
    pool_starts(2);
    items_take(MP__RECALL_ITEM_NS);
    ready(0);
    submit(&tail, 8, 8);
    at(MP__RECALL_NS);
    mp__core_ready(core, 1, 1);
    mp__core_recalled(core, 0, 1, 0);
    act();
    cr_assert_eq(counts().stale, 1);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    recalled(0, 8);
    pool_ends();
}

CHECK(plan, recall__another_worker_gets_ready__it_shares_what_comes_back)
{
    pool_starts(3);
    items_take(MP__RECALL_ITEM_NS);
    ready(0);
    submit(&tail, 4, 0);
    cr_assert_geq(sent[0], 3);
    at(MP__RECALL_NS);
    ready(1);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 1);
    ready(2);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0, "one is asked already, and has all there is");
    recalled(0, 1);
    cr_assert(sent[1] > 0 && sent[2] > 0);
    pool_ends();
}

CHECK(plan, recall__one_at_a_time_for_each_idle_worker__the_one_with_most_first)
{
    mp__core_job jobs[3];
    const size_t n[] = {4, 9, 6};
    pool_starts(4);
    items_take(1000);
    for (uint32_t i = 0; i < 3; i++) {
        ready(i);
        submit(&jobs[i], n[i], n[i]);
        cr_assert_eq(sent[i], n[i]);
    }
    items_take(2 * MP__RECALL_ITEM_NS);
    at(MP__RECALL_NS);
    ready(3);
    cr_assert(asked_times(MP__ACT_RECALL) == 1 && asked(MP__ACT_RECALL, 0)->slot == 1);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    recalled(1, 9);
    cr_assert(asked_times(MP__ACT_RECALL) == 1 && asked(MP__ACT_RECALL, 0)->slot == 2);
    recalled(2, 2);
    cr_assert_eq(first_sent[3], 2);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    pool_ends();
}

/* Its values are on their way and must stay with it. */
CHECK(plan, recalled__cannot_say__only_what_was_not_sent_comes_back)
{
    mp__core_job job = {.n = 8, .chunksize = 8};
    pool_starts(2);
    items_take(MP__RECALL_ITEM_NS);
    ready(0);
    mp__core_submit(core, &job);
    for (int i = 0; i < 3; i++)
        mp__core_sent(core, 0, 1);
    mp__core_time(core, MP__RECALL_NS);
    mp__core_ready(core, 1, 1);
    act();
    recalled(0, MP__UNKNOWN);
    cr_assert_eq(first_sent[1], 3);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED), "that they stay does not mean that they were started");
    ready(0);
    all_ends_well(2);
    pool_ends();
}

CHECK(plan, recalled__cannot_say_and_all_was_sent__is_not_asked_again)
{
    one_has_all(MP__RECALL_ITEM_NS);
    recalled(0, MP__UNKNOWN);
    cr_assert_eq(sent[1], 0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    results(0, 8);
    pool_ends();
}

CHECK(plan, one_item_each__nothing_to_take_back)
{
    mp__core_job job;
    pool_runs(3);
    items_take(1000000000);
    submit(&job, 2, 0);
    cr_assert(sent[0] == 1 && sent[1] == 1);
    cr_assert_eq(asked_times(MP__ACT_RECALL), 0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(plan, idle_pool__has_no_deadline)
{
    mp__core_job job;
    pool_runs(4);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    submit(&job, 4, 0);
    for (uint32_t i = 0; i < 4; i++)
        results(i, 1);
    cr_assert_eq(counts().pending, 0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    at(1000000000000);
    cr_assert_eq(action_count, 0);
    pool_ends();
}
