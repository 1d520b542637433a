/* Places: who gets one, who gives it up, and how many there are: workers with a limited life, resize, workers that take long to
 * prepare themselves. */
#include "serial/memory.h"
#include "tests/unit/core_pool.h"

TestSuite(core_places, .timeout = 60);

static const uint64_t MS = 1000000;

/* --- who gets one ------------------------------------------------------------------------------------------------------ */

CHECK(core_places, create__each_worker_has_its_place_and_there_are_slots_to_spare)
{
    pool_starts(3);
    cr_assert_eq(mp__core_slots(core), 6);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(asked(MP__ACT_START, i)->place == i && mp__core_place(core, i) == i);
    cr_assert_eq(counts().wanted, 3);
    pool_ends();
}

CHECK(core_places, lost__the_next_life_has_the_same_place_and_slot)
{
    pool_runs(3);
    lost(2, 0);
    cr_assert(asked(MP__ACT_START, 0)->slot == 2 && asked(MP__ACT_START, 0)->place == 2);
    pool_ends();
}

CHECK(core_places, condemned__keeps_its_place_until_it_is_gone)
{
    pool_runs(2);
    condemn(0);
    cr_assert_eq(asked_times(MP__ACT_START), 0);
    lost(0, 0);
    cr_assert_eq(asked(MP__ACT_START, 0)->place, 0);
    pool_ends();
}

CHECK(core_places, failures__count_for_their_place_alone)
{
    mp__core_job job;
    pool_starts(2);
    ready(0);
    submit(&job, 100, 0);
    start_failed(1);
    start_failed(1);
    cr_assert_eq(action_count, 0, "place 1 waits");
    lost(0, 1);
    cr_assert(asked_times(MP__ACT_START) == 1 && asked(MP__ACT_START, 0)->place == 0);
    at(10 * MS);
    cr_assert(asked_times(MP__ACT_START) == 1 && asked(MP__ACT_START, 0)->place == 1);
    pool_ends();
}

/* --- lives with few items ---------------------------------------------------------------------------------------------- */

static void pool_with_lives_of(uint32_t workers, uint64_t items)
{
    pool_runs_as(&(mp__core_config){.workers = workers, .tasks = 1, .life_items = items});
}

CHECK(core_places, life_of_few_items__was_sent_its_last__retires_and_is_replaced_at_once)
{
    mp__core_job job;
    pool_with_lives_of(1, 3);
    submit(&job, 10, 0);
    cr_assert(sent[0] == 2 && asked_times(MP__ACT_STOP) == 0);
    results(0, 1);
    cr_assert(sent[0] == 3 && asked_of(MP__ACT_STOP, 0));
    cr_assert(asked(MP__ACT_START, 0)->slot == 1 && asked(MP__ACT_START, 0)->place == 0);
    ready(1);
    cr_assert_eq(counts().ready, 2);
    results(0, 1); /* it still answers for what it has */
    cr_assert_eq(sent[1], 0, "one place runs one item at a time");
    results(0, 1);
    cr_assert(sent[1] == 2 && first_sent[1] == 3);
    lost(0, 3);
    cr_assert_eq(counts().lost, 0);
    cr_assert_eq(action_count, 0);
    pool_ends();
}

CHECK(core_places, life_of_few_items__large_chunks__are_cut_for_it)
{
    mp__core_job job;
    pool_with_lives_of(2, 3);
    submit(&job, 20, 10);
    cr_assert(sent[0] == 3 && sent[1] == 3 && first_sent[1] == 3);
    cr_assert(asked_times(MP__ACT_STOP) == 2 && asked_times(MP__ACT_START) == 2);
    pool_ends();
}

CHECK(core_places, life_of_one_item__every_slot_is_busy__waits_for_the_first_to_leave)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 5, 0);
    ready(1);
    cr_assert(sent[0] == 1 && sent[1] == 0 && mp__core_deadline(core) == MP__NEVER);
    results(0, 1);
    cr_assert(sent[1] == 1 && asked_times(MP__ACT_START) == 0);
    cr_assert_eq(mp__core_deadline(core), MP__GRACE_NS);
    lost(0, 1);
    cr_assert(asked_of(MP__ACT_START, 0) && asked(MP__ACT_START, 0)->place == 0);
    pool_ends();
}

CHECK(core_places, life_of_few_items__dies_retiring_with_nothing_started__is_a_failure)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 5, 0);
    ready(1);
    lost(0, 0);
    cr_assert(counts().lost == 1 && sent[1] == 1 && asked_of(MP__ACT_START, 0));
    ready(0);
    cr_assert_eq(sent[0], 0);
    lost(1, 0);
    cr_assert(counts().lost == 2 && sent[0] == 1 && asked_times(MP__ACT_START) == 0);
    cr_assert_eq(mp__core_deadline(core), MP__BACKOFF_NS);
    pool_ends();
}

CHECK(core_places, life_of_few_items__recalled_while_retiring__stays_so_and_leaves_early)
{
    mp__core_job job;
    pool_with_lives_of(2, 2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&job, 2, 2);
    cr_assert(sent[0] == 2 && asked_of(MP__ACT_STOP, 0));
    at(MP__RECALL_NS);
    cr_assert(asked_of(MP__ACT_RECALL, 0), "its neighbour idles");
    recalled(0, 1);
    cr_assert(sent[1] == 1 && last_sent[1] == 1);
    results(0, 1);
    lost(0, 1);
    cr_assert_eq(counts().lost, 0);
    pool_ends();
}

CHECK(core_places, retiring__was_through__is_killed_after_the_grace)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 1, 0);
    ready(1);
    at(5000 * MS);
    cr_assert_eq(action_count, 0, "it has all the time for its item");
    results(0, 1);
    cr_assert_eq(mp__core_deadline(core), 5000 * MS + MP__GRACE_NS);
    at(5000 * MS + MP__GRACE_NS);
    cr_assert(asked_of(MP__ACT_KILL, 0) && asked(MP__ACT_KILL, 0)->hard);
    lost(0, 1);
    cr_assert_eq(counts().lost, 0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    pool_ends();
}

CHECK(core_places, retiring__terminate__is_killed_as_any_other)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 2, 0);
    terminate_pool();
    cr_assert(asked_of(MP__ACT_KILL, 0));
    cr_assert_eq(counts().pending, 0);
    lost(0, 1);
    lost(1, 0);
    cr_assert_eq(mp__core_get_state(core), MP__ENDED);
    pool_ends();
}

CHECK(core_places, life_of_one_item__its_replacements_fail__is_waited_for_before_giving_up)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 2, 0);
    for (int i = 0; i < 2 * MP__FAILURES_MAX; i++) {
        start_failed(1);
        if (!asked(MP__ACT_START, 0))
            at(mp__core_deadline(core));
        cr_assert(asked_of(MP__ACT_START, 1));
    }
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING);
    results(0, 1);
    lost(0, 1);
    cr_assert_eq(mp__core_get_state(core), MP__RUNNING, "it did something: it is no time to give up");
    pool_ends();
}

/* Each way in which a life that retires may come to have nothing any more: then the next one gets items at once. */
CHECK(core_places, life_of_one_item__ends_in_any_way__the_next_one_goes_on)
{
    mp__core_job job;
    pool_with_lives_of(1, 1);
    submit(&job, 5, 0);
    ready(1);
    cr_assert_eq(sent[1], 0);
    condemn(0);
    cr_assert_eq(sent[1], 1, "before it is gone");
    lost(0, 1);
    ready(0);
    cr_assert_eq(sent[0], 0);
    vanished(1);
    cr_assert_eq(sent[0], 1);
    pool_ends();
}

CHECK(core_places, life_of_one_item__is_overdue__the_next_one_goes_on)
{
    mp__core_job job = {.n = 5, .timeout_ns = 10 * MS};
    pool_with_lives_of(1, 1);
    submit_job(&job);
    ready(1);
    for (uint64_t t = 0; t < 100 && !asked_of(MP__ACT_END, 0); t++) {
        at(t * MS);
        if (asked_of(MP__ACT_WATCH, 0))
            progress(0, 1, false);
    }
    cr_assert_eq(sent[1], 0);
    ended(0, true);
    cr_assert_eq(sent[1], 1, "which is being ended");
    pool_ends();
}

CHECK(core_places, life_of_one_item__leaves__what_is_for_its_place_alone_waits_for_it)
{
    mp__core_job job, pinned = {.n = 1, .pin = 1};
    pool_with_lives_of(2, 1);
    submit(&job, 1, 0);
    cr_assert(sent[0] == 1 && asked_of(MP__ACT_STOP, 0));
    uint32_t next = asked(MP__ACT_START, 0)->slot;
    ready(next);
    submit_job(&pinned);
    cr_assert(sent[next] == 0 && sent[1] == 0);
    results(0, 1);
    cr_assert_eq(sent[next], 1);
    pool_ends();
}

/* What came back is more than the idle life may have, and there is no chunk to cut it with. */
CHECK(core_places, life_of_few_items__too_little_left_for_what_there_is__makes_room_for_a_new_one)
{
    mp__core_job a, b = {.n = 2, .chunksize = 2, .open = true}, c = {.n = 2, .chunksize = 2, .open = true};
    pool_runs_as(&(mp__core_config){.workers = 2, .tasks = 1, .life_items = 4, .chunks = 1});
    submit(&a, 3, 3);
    submit_job(&b);
    submit_job(&c);
    cr_assert(sent[0] == 3 && sent[1] == 4);
    results(0, 3);
    cr_assert_not(asked_of(MP__ACT_STOP, 0));
    lost(1, 0);
    cr_assert_eq(sent[0], 3, "it may have one item more, and pieces are of two");
    cr_assert(asked_of(MP__ACT_STOP, 0));
    lost(0, 3);
    cr_assert(counts().lost == 1 && asked(MP__ACT_START, 0)->place == 0);
    ready(0);
    cr_assert_eq(sent[0], 4);
    pool_ends();
}

/* --- resize: more ------------------------------------------------------------------------------------------------------ */

CHECK(core_places, resize__more__are_started_in_new_places)
{
    mp__core_job job;
    pool_runs(2);
    cr_assert_eq(resize(4), MP_OK);
    cr_assert_eq(mp__core_slots(core), 8);
    cr_assert_eq(asked_times(MP__ACT_START), 2);
    for (uint32_t i = 0; i < 2; i++)
        cr_assert_eq(asked(MP__ACT_START, i)->place, 2 + i);
    cr_assert_not(mp__core_all_ready(core));
    ready(asked(MP__ACT_START, 1)->slot);
    ready(mp__core_place(core, 4) == 2 ? 4 : 5);
    cr_assert(mp__core_all_ready(core) && counts().wanted == 4);
    submit(&job, 4, 0);
    cr_assert_eq(asked_times(MP__ACT_SEND), 4);
    pool_ends();
}

static unsigned allocations_left;

static void *failing_calloc(size_t count, size_t size)
{
    return allocations_left && allocations_left-- ? calloc(count, size) : NULL;
}

CHECK(core_places, resize__no_memory__nothing_has_changed)
{
    pool_runs(2);
    mp__memory.calloc = failing_calloc;
    unsigned n = 0;
    do {
        allocations_left = n;
        mp_status status = resize(9);
        cr_assert_eq(status, counts().wanted == 9 ? MP_OK : MP_ENOMEM);
        cr_assert_eq(mp__core_slots(core), 2 * counts().wanted);
    } while (counts().wanted == 2 && action_count == 0 && ++n < 100);
    cr_assert_eq(n, 4);
    cr_assert_eq(asked_times(MP__ACT_START), 7);
    mp__memory.calloc = calloc;
    pool_ends();
}

CHECK(core_places, resize__by_state__is_done_or_refused)
{
    pool_runs(1);
    close_pool();
    cr_assert_eq(resize(2), MP_ECLOSED);
    terminate_pool();
    cr_assert_eq(resize(2), MP_ECLOSED);
    pool_ends();
    pool_runs(1);
    mp__core_break(core);
    act();
    cr_assert_eq(resize(2), MP_EBROKEN);
    pool_ends();
}

/* --- resize: fewer ----------------------------------------------------------------------------------------------------- */

CHECK(core_places, resize__fewer__idle_ones_leave_and_nobody_follows_them)
{
    pool_runs(3);
    cr_assert_eq(resize(1), MP_OK);
    cr_assert(asked_of(MP__ACT_STOP, 1) && asked_of(MP__ACT_STOP, 2) && action_count == 2);
    lost(1, 0);
    lost(2, 0);
    cr_assert(action_count == 0 && counts().lost == 0);
    cr_assert(mp__core_all_ready(core) && mp__core_deadline(core) == MP__NEVER);
    cr_assert_eq(mp__core_slots(core), 6);
    pool_ends();
}

CHECK(core_places, resize__fewer__what_was_not_sent_goes_elsewhere_at_once)
{
    mp__core_job job = {.n = 8, .chunksize = 4};
    mp__core_item item;
    pool_runs(2);
    mp__core_submit(core, &job);
    mp__core_sent(core, 1, 1);
    cr_assert_eq(mp__core_resize(core, 1), MP_OK);
    check_core();
    cr_assert_eq(mp__core_unsent(core, 1, &item), 0);
    act();
    cr_assert(asked_of(MP__ACT_STOP, 1));
    results(0, 4);
    cr_assert_eq(sent[0], 7);
    cr_assert_eq(result(1), 4);
    pool_ends();
}

CHECK(core_places, resize__fewer__what_was_sent_and_has_not_started_is_asked_back)
{
    mp__core_job job;
    pool_runs(2);
    submit(&job, 8, 2);
    cr_assert_eq(sent[1], 4);
    resize(1);
    cr_assert(asked_of(MP__ACT_RECALL, 1) && asked_of(MP__ACT_STOP, 1));
    recalled(1, 1);
    cr_assert_eq(asked_times(MP__ACT_CANCEL), 0, "its item is wanted");
    results(0, 4);
    cr_assert_eq(sent[0], 7);
    results(1, 1);
    lost(1, 1);
    cr_assert_eq(counts().lost, 0);
    results(0, 3);
    cr_assert_eq(asked_times(MP__ACT_DONE), 1);
    pool_ends();
}

CHECK(core_places, resize__fewer__those_that_leave_have_no_share_of_what_comes)
{
    mp__core_job two, job;
    pool_runs(2);
    items_take(1000);
    submit(&two, 2, 0);
    resize(1);
    results(0, 1);
    cr_assert_eq(counts().ready, 2);
    submit(&job, 100, 0);
    cr_assert_eq(sent[0], 1 + 51 + 25, "half of what there is, twice");
    pool_ends();
}

CHECK(core_places, resize__fewer__one_that_starts_leaves_when_ready_or_is_killed)
{
    pool_starts(3);
    at(10);
    resize(1);
    cr_assert_eq(action_count, 0);
    cr_assert_eq(mp__core_deadline(core), 10 + MP__GRACE_NS);
    ready(1);
    cr_assert(asked_of(MP__ACT_STOP, 1) && counts().ready == 0);
    lost(1, 0);
    at(10 + MP__GRACE_NS);
    cr_assert(action_count == 1 && asked_of(MP__ACT_KILL, 2) && asked(MP__ACT_KILL, 0)->hard);
    pool_ends();
}

CHECK(core_places, resize__fewer_before_anybody_was_told__they_never_begin)
{
    core = mp__core_create(&(mp__core_config){.workers = 3, .tasks = 1});
    cr_assert_eq(resize(1), MP_OK);
    cr_assert(action_count == 1 && asked(MP__ACT_START, 0)->place == 0);
    pool_ends();
}

CHECK(core_places, resize__fewer_and_more_again__who_starts_has_its_time_again)
{
    pool_starts(2);
    resize(1);
    at(10);
    resize(2);
    cr_assert_eq(asked_times(MP__ACT_START), 0);
    at(MP__GRACE_NS);
    cr_assert_eq(action_count, 0);
    ready(1);
    cr_assert_eq(counts().ready, 1);
    pool_ends();
}

CHECK(core_places, resize__those_that_leave_have_not_failed_however_little_they_did)
{
    pool_runs(2);
    for (uint64_t i = 1; i <= 20; i++) {
        resize(1);
        if (i % 2) {
            at(i * 2 * MP__GRACE_NS);
            cr_assert(asked_of(MP__ACT_KILL, 1));
        }
        lost(1, 0);
        resize(2);
        cr_assert(asked_of(MP__ACT_START, 1), "at once");
        ready(1);
    }
    cr_assert_eq(counts().lost, 0);
    pool_ends();
}

CHECK(core_places, resize__fewer_and_more_again__a_new_life_starts_beside_the_one_that_leaves)
{
    mp__core_job job;
    pool_runs(2);
    submit(&job, 8, 2);
    resize(1);
    recalled(1, 1);
    resize(2);
    cr_assert(asked_times(MP__ACT_START) == 1 && asked(MP__ACT_START, 0)->place == 1 && !asked_of(MP__ACT_START, 1));
    ready(asked(MP__ACT_START, 0)->slot);
    cr_assert_eq(asked_times(MP__ACT_SEND), 0, "the old one runs its last item");
    cr_assert_eq(result(1), 2);
    cr_assert_eq(asked_times(MP__ACT_SEND), 1);
    pool_ends();
}

CHECK(core_places, resize__fewer__a_recall_that_was_due_is_still_asked_for)
{
    mp__core_job one, job;
    pool_runs(2);
    items_take(MP__RECALL_ITEM_NS);
    submit(&one, 1, 0);
    submit(&job, 4, 4);
    cr_assert_eq(sent[1], 4);
    results(0, 1);
    mp__core_time(core, MP__RECALL_NS);
    cr_assert_eq(resize(1), MP_OK);
    cr_assert(asked_of(MP__ACT_RECALL, 1) && asked_of(MP__ACT_STOP, 1));
    recalled(1, 1);
    cr_assert_gt(sent[0], 1);
    pool_ends();
}

/* --- greeted ----------------------------------------------------------------------------------------------------------- */

CHECK(core_places, greeted__prepares_itself_for_as_long_as_it_likes)
{
    pool_starts(1);
    greeted(0);
    cr_assert_eq(mp__core_deadline(core), MP__NEVER);
    at(100 * MP__START_NS);
    cr_assert_eq(action_count, 0);
    ready(0);
    cr_assert(mp__core_all_ready(core));
    pool_ends();
}

CHECK(core_places, greeted__not_wanted_any_more__is_killed_after_the_grace)
{
    for (int close = 0; close < 2; close++) {
        pool_starts(2);
        greeted(1);
        if (close)
            close_pool();
        else
            resize(1);
        greeted(1);
        at(MP__GRACE_NS);
        cr_assert(asked_of(MP__ACT_KILL, 1) && asked(MP__ACT_KILL, 0)->hard);
        pool_ends();
    }
}

CHECK(core_places, greeted__by_another_life_or_too_late__is_counted)
{
    pool_runs(1);
    greeted(0);
    mp__core_greeted(core, 0, 7);
    act();
    cr_assert_eq(counts().stale, 2);
    pool_ends();
}
