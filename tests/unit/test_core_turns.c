/* Whose turn it is when more is added to an open job: as if each of its items were a job by itself. */
#include "tests/unit/core_pool.h"

TestSuite(core_turns, .timeout = 60);

/* On one worker, which has as few items as it may. */
static void stream_begins(mp__core_job *stream)
{
    pool_runs(1);
    items_take(MP__WINDOW_NS);
    submit_job(stream);
}

/* Else one to which more is added faster than it is worked off would leave nothing to what comes later. */
CHECK(core_turns, what_is_added_later__comes_behind_what_was_there)
{
    enum { BEFORE = 50, EARLY = 4, OTHERS = 6, LATE = 100 };
    mp__core_job stream = {.open = true}, second = {.open = true}, job;
    stream_begins(&stream);
    extend(&stream, BEFORE);
    results(0, BEFORE);
    extend(&stream, EARLY);
    submit(&job, OTHERS, 1);
    extend(&stream, LATE);
    for (size_t i = 0; i < EARLY; i++)
        cr_assert_eq(result(0), BEFORE + i);
    submit_job(&second);
    extend(&second, 2);
    for (size_t i = 0; i < OTHERS; i++) {
        cr_assert_eq(result(0), i);
        extend(&stream, 1);
    }
    cr_assert_eq(result(0), BEFORE + EARLY, "the stream had gone behind the job before the second one came");
    seal(&second);
    seal(&stream);
    while (result(0) != SIZE_MAX)
        ;
    cr_assert_eq(counts().finished, counts().accepted);
    pool_ends();
}

CHECK(core_turns, extended_without_end__leaves_what_is_pinned_its_turn)
{
    mp__core_job stream = {.open = true}, pinned = {.n = 1, .pin = 1};
    bool done = false;
    stream_begins(&stream);
    extend(&stream, 20);
    results(0, 2);
    submit_job(&pinned);
    for (int i = 0; i < 40 && !done; i++) {
        result(0);
        done = asked(MP__ACT_DONE, 0) != NULL;
        extend(&stream, 1);
        done |= asked(MP__ACT_DONE, 0) != NULL;
    }
    cr_assert(done);
    seal(&stream);
    pool_ends();
}

CHECK(core_turns, what_comes_back__has_its_turn_of_before)
{
    mp__core_job stream = {.open = true, .retries = 1, .retry_on = 15}, job;
    mp_status status;
    size_t steps = 0;
    stream_begins(&stream);
    extend(&stream, 1);
    submit(&job, 500, 1);
    extend(&stream, 1);
    (void)fails(0, &status);
    for (; stream.returned.head && steps < 600; steps++)
        result(0);
    cr_assert_lt(steps, 10, "a retry of what came before the job waited for %zu of its results", steps);
    extend(&stream, 2);
    while (job.waiting)
        result(0);
    seal(&stream);
    pool_ends();
}

CHECK(core_turns, worker_dies__what_it_had_has_its_turn_of_before)
{
    mp__core_job stream = {.open = true}, job;
    stream_begins(&stream);
    extend(&stream, 2);
    submit(&job, 500, 1);
    extend(&stream, 1);
    lost(0, 0);
    ready(0);
    cr_assert_eq(stream.waiting, 1, "two came before the job, and one behind it");
    cr_assert_eq(job.waiting, 500);
    seal(&stream);
    pool_ends();
}

CHECK(core_turns, job_behind_it_goes_away__all_that_waits_comes_before_the_next)
{
    mp__core_job stream = {.open = true}, job, next;
    stream_begins(&stream);
    extend(&stream, 6);
    submit(&job, 5, 1);
    extend(&stream, 40);
    cancel(&job);
    submit(&next, 500, 1);
    while (next.waiting == 500)
        result(0);
    cr_assert_eq(stream.waiting, 0);
    seal(&stream);
    pool_ends();
}

CHECK(core_turns, with_a_deadline__keeps_it_when_others_pass)
{
    mp__core_job stream = {.n = 8, .open = true}, job;
    pool_runs(1);
    items_take(MP__WINDOW_NS);
    uint64_t deadline = mp__core_now(core) + 100 * MP__WINDOW_NS;
    stream.deadline = deadline;
    submit_job(&stream);
    submit(&job, 2, 1);
    extend(&stream, 8);
    results(0, 12);
    cr_assert_not(stream.cancelled);
    at(deadline);
    cr_assert(stream.cancelled);
    seal(&stream);
    pool_ends();
}
