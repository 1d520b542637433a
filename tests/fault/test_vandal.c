/* Tasks that damage what is around them, and go on: descriptors closed, pipes written to and read from, memory overwritten, children
 * left behind. What is asked (deeds.h has the rest): the map ends, each item has one status, none ran twice, the pool works
 * afterwards, and the program does not suffer. */
#include "tests/fault/deeds.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"

TestSuite(vandal, .timeout = 60);

/* The map ends; each item has one status; none ran twice; one that says MP_OK has its right result; at most `most` do not,
 * and these say so by a status for a dead worker. The pool works afterwards. How many failed. */
static int expect_damage_contained(trial *t, mp_pool *pool, int most)
{
    int failed = 0;
    run_map(t, pool);
    for (size_t i = 0; i < N; i++) {
        if (t->statuses[i] == MP_OK) {
            expect_success(t, i);
            continue;
        }
        failed++;
        cr_assert(t->statuses[i] == MP_ECRASHED || t->statuses[i] == MP_ELOST, "item %zu: status %d: %s", i, t->statuses[i],
                  t->errors[i].message);
        cr_assert(le(int, tally->lines[i].begun, 1), "item %zu", i);
        cr_assert(eq(sz, t->errors[i].item, i));
    }
    cr_assert(le(int, failed, most));
    mp_free(product, t->results, N);
    order saved[N];
    memcpy(saved, t->items, sizeof saved);
    memset(t->items, 0, sizeof t->items);
    try_map(t, pool, 2);
    memcpy(t->items, saved, sizeof saved);
    return failed;
}

CHECK(vandal, closes_all_descriptors__costs_at_most_its_item)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = CLOSE_ALL;
    for (int round = 0; round < ROUNDS(30); round++)
        expect_damage_contained(t, pool, 1);
    mp_pool_free(&pool);
    end_trial(t);
}

/* Those from 3 on that are pipes to write into. */
static void close_writable(void)
{
    struct stat about;
    for (int fd = 3; fd < 1024; fd++)
        if (fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            close(fd);
}

static mp_status close_some(const int *closes, int *one_more, mp_call *call)
{
    (void)call;
    if (*closes)
        close_writable();
    *one_more = *closes + 1;
    return MP_OK;
}
MP_TASK(close_some, int, int);

/* Its worker can take items, and say nothing: it would sleep for ever if nobody ended it. */
CHECK(vandal, closes_what_results_go_through__costs_at_most_its_item)
{
    mp_error error;
    for (int round = 0; round < ROUNDS(10); round++) {
        int result = 0;
        mp_pool *pool = open_pool(1 + round % 2);
        mp_status status = mp_pool_apply(pool, close_some, (&(int){1}), &result, .error = &error);
        cr_assert(status == MP_OK || status == MP_ECRASHED || status == MP_ELOST, "%s", error.message);
        nap_us(2000L * (round % 3)); /* by then the end of the pipe has been seen, or not */
        for (int i = 0; i < 3; i++) {
            cr_assert(eq(int, mp_pool_apply(pool, close_some, (&(int){0}), &result, .error = &error), MP_OK), "%s",
                      error.message);
            cr_assert(eq(int, result, 1));
        }
        mp_pool_free(&pool);
    }
}

CHECK(vandal, closes_standard_streams__costs_nothing)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = t->items[50].deed = CLOSE_STANDARD;
    for (int round = 0; round < ROUNDS(10); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

/* What the worker had finished but not sent goes with it: its own chunk and, with credit, the next ones. */
static void try_damage(trial *t, mp_pool *pool, int size, int byte)
{
    tally->word[0] = size;
    tally->word[1] = byte;
    tally->word[3] = 0;
    expect_damage_contained(t, pool, N);
}

CHECK(vandal, writes_a_page_of_garbage_among_the_results__is_ended_and_the_map_too)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = GARBAGE;
    for (int byte = 0; byte < 256; byte += ROUNDS_SLOWER == 1 ? 5 : 51)
        try_damage(t, pool, 4096, byte);
    mp_pool_free(&pool);
    end_trial(t);
}

/* A few bytes may look like the beginning of a frame that never comes to its end. */
CHECK(vandal, writes_one_byte_among_the_results__the_map_ends)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = GARBAGE;
    for (int byte = 0; byte < 256; byte += ROUNDS_SLOWER == 1 ? 5 : 51)
        try_damage(t, pool, 1, byte);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(vandal, writes_two_to_forty_bytes_among_the_results__the_map_ends)
{
    static const int bytes[] = {0, 1, 7, 8, 0x70, 0x17, 0x7f, 0xf7, 0xff};
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = GARBAGE;
    for (int size = 2; size <= 40; size += ROUNDS_SLOWER == 1 ? 3 : 19)
        for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
            try_damage(t, pool, size, bytes[i]);
    mp_pool_free(&pool);
    end_trial(t);
}

/* Some of what it is sent never reaches it: it must not wait for the rest. */
CHECK(vandal, takes_what_is_sent_to_its_worker__the_map_ends)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 7, 20, 100, 1000, 4096};
    int stolen = 0;
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = t->items[2].deed = STEAL;
    for (int round = 0; round < ROUNDS(5); round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            try_damage(t, pool, sizes[i], 0);
            stolen += tally->word[3];
        }
    cr_expect(gt(int, stolen, 0), "there was never anything to take");
    mp_pool_free(&pool);
    end_trial(t);
}

/* Then nothing that this worker says can be believed: neither its results nor what it has started (so its item may run again).
 * But every item has a status, and the program and later maps are unharmed. */
CHECK(vandal, overwrites_shared_memory__the_map_ends)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (int byte = 0; byte < 256; byte += ROUNDS_SLOWER == 1 ? 5 : 51) {
        t->items[10].deed = OVERWRITE;
        tally->word[1] = byte;
        tally->word[3] = 0;
        run_map(t, pool);
        cr_assert(gt(int, tally->word[3], 0), "it has found no memory to overwrite");
        for (size_t i = 0; i < N; i++)
            cr_assert(t->statuses[i] == MP_OK || t->errors[i].item == i, "byte %d, item %zu", byte, i);
        mp_free(product, t->results, N);
        t->items[10].deed = NONE;
        run_map(t, pool);
        cr_assert(eq(int, t->status, MP_OK), "after byte %d: %s", byte, t->error.message);
        mp_free(product, t->results, N);
    }
    mp_pool_free(&pool);
    end_trial(t);
}

/* The child holds copies of the worker's pipes: their end never comes, and death must be noticed without it. The pool has ended. */
static void expect_child_ended(void)
{
    cr_assert(gt(int, tally->word[2], 1));
    cr_assert_not(proc_lives(tally->word[2]), "the task's child has outlived the pool");
}

CHECK(vandal, forks_a_child_that_stays__costs_nothing)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = FORK_CHILD;
    try_map(t, pool, 2);
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    expect_child_ended();
    end_trial(t);
}

CHECK(vandal, forks_a_child_that_stays_and_crashes_later__costs_the_crash)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(1);
    t->items[10].deed = FORK_CHILD;
    t->items[12].deed = BY_SIGKILL;
    t->items[70].deed = BY_EXIT_3;
    try_map(t, pool, 1);
    mp_pool_free(&pool);
    expect_child_ended();
    end_trial(t);
}

CHECK(vandal, scribbles_over_standard_output__costs_nothing)
{
    trial *t = begin_trial();
    int saved = dup(1), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fflush(stdout);
    dup2(null, 1);
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < N; i += 3)
        t->items[i].deed = SCRIBBLE;
    for (int round = 0; round < ROUNDS(10); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    dup2(saved, 1);
    close(saved);
    close(null);
    end_trial(t);
}
