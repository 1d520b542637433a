/* Calls that came together part, wherever they are; each then is a job by itself. */
#include "tests/unit/core_pool.h"

TestSuite(core_split, .timeout = 60);

enum { N = 8 };

static mp__core_job together, alone[N];
static bool placed[N];

static mp__core_job *place(mp__core_job *job, size_t index)
{
    cr_assert(job == &together && index < N && !placed[index]);
    placed[index] = true;
    memset(&alone[index], 0xA5, sizeof alone[index]);
    return &alone[index];
}

static void submit_calls(mp__core_job terms)
{
    together = terms;
    together.n = N;
    together.calls = true;
    cr_assert_eq(submit_job(&together), MP_OK);
}

static void part(void)
{
    mp__core_split(core, &together, place);
    act();
}

static size_t count_placed(void)
{
    size_t count = 0;
    for (size_t i = 0; i < N; i++)
        count += placed[i];
    return count;
}

/* The next result of the slot belongs to this one. */
static void expect_result(uint32_t slot, const mp__core_job *job)
{
    mp__core_item item = {0};
    bool nonsense;
    cr_assert(mp__core_result(core, slot, lives[slot], &item, &nonsense));
    act();
    cr_assert(item.job == job && item.index == 0);
    cr_assert(asked_times(MP__ACT_DONE) == 1 && asked(MP__ACT_DONE, 0)->job == job);
}

CHECK(core_split, waiting__all_wait_in_their_order)
{
    pool_starts(1);
    submit_calls((mp__core_job){0});
    uint64_t queued = mp__core_queued(core);
    part();
    cr_assert_eq(count_placed(), N);
    cr_assert(asked_times(MP__ACT_DONE) == 1 && asked(MP__ACT_DONE, 0)->job == &together);
    cr_assert_eq(mp__core_queued(core), queued);
    cr_assert_eq(counts().pending, N);
    ready(0);
    for (size_t i = 0; i < N; i++)
        expect_result(0, &alone[i]);
    cr_assert_eq(counts().finished, N);
    pool_ends();
}

/* Who looks for its place from the front finds a wall there, and is lost. */
CHECK(core_split, many_wait_in_front__nobody_passes_by_them)
{
    static mp__core_job wall = {.number = UINT64_MAX}, front[3], behind;
    pool_starts(1);
    for (size_t i = 0; i < 3; i++)
        submit(&front[i], 1, 0);
    submit_calls((mp__core_job){0});
    submit(&behind, 1, 0);
    front[0].next = &wall;
    mp__core_split(core, &together, place);
    front[0].next = &front[1];
    act();
    ready(0);
    for (size_t i = 0; i < 3; i++)
        expect_result(0, &front[i]);
    for (size_t i = 0; i < N; i++)
        expect_result(0, &alone[i]);
    expect_result(0, &behind);
    pool_ends();
}

CHECK(core_split, one_of_those_that_wait__cancelled__ends_alone)
{
    for (size_t which = 0; which < N; which += N / 2 - 1) {
        memset(placed, 0, sizeof placed);
        pool_starts(1);
        submit_calls((mp__core_job){0});
        part();
        cancel(&alone[which]);
        cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->job == &alone[which]);
        cr_assert_eq(asked_times(MP__ACT_FAIL), 1);
        ready(0);
        for (size_t i = 0; i < N; i++)
            if (i != which)
                expect_result(0, &alone[i]);
        cr_assert_eq(counts().pending, 0);
        pool_ends();
    }
}

CHECK(core_split, sent__results_belong_to_the_same_ones)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    cr_assert_gt(sent[0], 2);
    cr_assert_eq(result(0), 0);
    cr_assert_eq(result(0), 1);
    part();
    cr_assert_eq(count_placed(), N - 2);
    cr_assert_not(placed[0] || placed[1]);
    for (size_t i = 2; i < N; i++)
        expect_result(0, &alone[i]);
    pool_ends();
}

CHECK(core_split, one_that_was_sent__cancelled__is_taken_back_and_the_rest_is_sent_again)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    part();
    cancel(&alone[3]);
    cr_assert(asked_of(MP__ACT_RECALL, 0));
    recalled(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->job == &alone[3]);
    cr_assert_not(asked_of(MP__ACT_CANCEL, 0), "what runs is another one");
    for (size_t i = 0; i < N; i++)
        if (i != 3)
            expect_result(0, &alone[i]);
    pool_ends();
}

CHECK(core_split, what_runs__cancelled__is_told)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    part();
    cancel(&alone[0]);
    recalled(0, 1);
    cr_assert_eq(asked_times(MP__ACT_FAIL), 0);
    cr_assert(asked_of(MP__ACT_CANCEL, 0));
    for (size_t i = 0; i < N; i++)
        expect_result(0, &alone[i]);
    pool_ends();
}

CHECK(core_split, what_runs__by_force__is_ended_and_its_worker_with_it)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    part();
    cancel_by_force(&alone[0]);
    recalled(0, 1);
    progress(0, 1, false);
    cr_assert(asked_of(MP__ACT_END, 0));
    ended(0, true);
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->job == &alone[0]);
    cr_assert_eq(counts().pending, N - 1);
    pool_ends();
}

CHECK(core_split, a_death_behind_it__costs_the_one_that_ran)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    cr_assert_eq(result(0), 0);
    part();
    lost(0, 2);
    cr_assert(failed(0, 0, 1, MP_ECRASHED) && asked(MP__ACT_FAIL, 0)->job == &alone[1]);
    cr_assert_eq(counts().pending, N - 2);
    ready(0);
    for (size_t i = 2; i < N; i++)
        expect_result(0, &alone[i]);
    pool_ends();
}

/* A death while they are together: the same. */
CHECK(core_split, a_death_before_it__the_rest_is_where_it_was)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    lost(0, 1);
    cr_assert(failed(0, 0, 1, MP_ECRASHED) && asked(MP__ACT_FAIL, 0)->job == &together);
    part();
    cr_assert_not(placed[0]);
    cr_assert_eq(count_placed(), N - 1);
    ready(0);
    for (size_t i = 1; i < N; i++)
        expect_result(0, &alone[i]);
    pool_ends();
}

CHECK(core_split, some_wait_to_be_run_again__they_keep_their_time_and_attempt)
{
    mp_status status;
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){.retries = 3, .retry_on = MP__RETRY_FAILED, .retry_ns = 1000000});
    cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
    cr_assert_eq(result(0), 1);
    cr_assert_eq(fails(0, &status), MP__FAILED_RETRIED);
    part();
    cr_assert_eq(count_placed(), N - 1);
    cr_assert_eq(mp__core_deadline(core), 1000000);
    for (size_t i = 3; i < N; i++)
        expect_result(0, &alone[i]);
    cancel(&alone[2]);
    cr_assert(failed(0, 0, 1, MP_ECANCELLED) && asked(MP__ACT_FAIL, 0)->attempt == 1);
    at(1000000);
    mp__core_item item;
    bool nonsense;
    cr_assert(mp__core_result(core, 0, lives[0], &item, &nonsense));
    act();
    cr_assert(item.job == &alone[0] && item.attempt == 2);
    cr_assert_eq(counts().pending, 0);
    pool_ends();
}

CHECK(core_split, all_were_cancelled__each_keeps_its_verdict)
{
    pool_runs(1);
    items_take(1000);
    submit_calls((mp__core_job){0});
    mp__core_cancel_all(core, MP_EINTERRUPTED);
    act();
    part();
    recalled(0, 1);
    cr_assert_gt(sent[0], 2);
    cr_assert_eq(asked_times(MP__ACT_FAIL), sent[0] - 1);
    for (size_t i = 0; i < sent[0] - 1; i++)
        cr_assert(failed(i, 0, 1, MP_EINTERRUPTED));
    expect_result(0, &alone[0]);
    pool_ends();
}

/* ---- calls that are together ---- */

CHECK(core_split, together_and_nothing_is_known__one_goes_to_each_worker)
{
    pool_runs(2);
    submit_calls((mp__core_job){0});
    cr_assert(sent[0] == 1 && sent[1] == 1);
    cr_assert_eq(result(0), 0);
    cr_assert(sent[0] == 2 && last_sent[0] == 2);
    pool_ends();
}

CHECK(core_split, together__an_older_one_behind_a_long_one_goes_before_a_younger_one_to_who_idles)
{
    pool_runs(2);
    items_take(1000);
    submit_calls((mp__core_job){0});
    while (sent[1] > 0 && result(1) != SIZE_MAX)
        continue;
    at(MP__RECALL_NS);
    cr_assert(asked_of(MP__ACT_RECALL, 0), "the first one takes long");
    recalled(0, 1);
    cr_assert_eq(first_sent[1], 1);
    pool_ends();
}

CHECK(core_split, each_counts_among_those_that_wait)
{
    pool_starts(1);
    submit_calls((mp__core_job){0});
    cr_assert_eq(mp__core_queued(core), N);
    mp__core_job map;
    submit(&map, 100, 0);
    cr_assert_eq(mp__core_queued(core), N + 1);
    cancel(&together);
    cr_assert(failed(0, 0, N, MP_ECANCELLED));
    cr_assert_eq(mp__core_queued(core), 1);
    pool_ends();
}

CHECK(core_split, more_are_expected__a_worker_gets_its_share_of_all)
{
    pool_runs(2);
    items_take(1000);
    mp__core_expect(core, 100);
    cr_assert_gt(mp__core_appetite(core, 0), N);
    submit_calls((mp__core_job){0});
    cr_assert_eq(sent[0], N, "as one of 27 it is not too much for the first");
    cr_assert_eq(mp__core_appetite(core, 1), 0, "of tasks that nobody knows they get one at a time");
    pool_ends();
}
