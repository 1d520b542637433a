/* Memory that cannot be had: the k-th allocation fails, k = 0, 1, 2 ... until none does; in the program, and in the workers. Each
 * call ends with MP_ENOMEM (or does without), every item has a status, none ran twice, and nothing is left behind. */
#include "serial/memory.h"
#include "tests/fault/strikes.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"

TestSuite(memory, .timeout = 120);

enum { OURS = 1, THEIRS = 2, PROMPT = 20 };
static mp__memory_calls real_memory;

static bool refused(void)
{
    bool now = strikes();
    if (now)
        errno = ENOMEM;
    return now;
}

static void *striking_malloc(size_t size)
{
    return refused() ? NULL : real_memory.malloc(size);
}
static void *striking_calloc(size_t count, size_t size)
{
    return refused() ? NULL : real_memory.calloc(count, size);
}
static void *striking_realloc(void *old, size_t size)
{
    return refused() ? NULL : real_memory.realloc(old, size);
}
static void *striking_aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : real_memory.aligned_alloc(alignment, size);
}

static void begin_shortage(int whose)
{
    begin_faults(N);
    plot->only = whose;
    real_memory = mp__memory;
    mp__memory = (mp__memory_calls){striking_malloc, striking_calloc, striking_realloc, striking_aligned_alloc};
}

static void end_shortage(void)
{
    mp__memory = real_memory;
    end_faults();
}

static mp_status take_note(const mp_bytes *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(take_note, mp_bytes, mp_none);

CHECK_METHODS(memory, runs_out_in_open__says_so_and_leaves_nothing)
{
    static char bytes[20000];
    mp_bytes blob = {bytes, sizeof bytes}, text = {bytes, 10};
    begin_shortage(OURS);
    int first = 0;
    for (;; first++) {
        mp_pool *pool;
        mp_error error;
        spoil(&error, sizeof error);
        arm(first, 1);
        mp_status status =
            mp_pool_open(&pool, .processes = 3, .start_method = method, .initializer = MP_HOOK(take_note, &text),
                         .finalizer = MP_HOOK(take_note, &blob), .error = &error);
        int hit = plot->failed;
        disarm();
        if (status == MP_OK) {
            mp_pool_free(&pool);
        } else {
            cr_assert(status == MP_ENOMEM || status == MP_ESYSTEM, "allocation %d: status %d: %s", first, status,
                      error.message);
            cr_assert(zero(ptr, pool));
            cr_assert(eq(sz, error.item, MP_NO_ITEM));
            cr_assert(says(&error, "memory"), "allocation %d: %s", first, error.message);
            cr_assert(zero(int, proc_children(getpid(), NULL, 0)), "allocation %d", first);
        }
        if (!hit)
            break;
    }
    cr_assert(gt(int, first, 2));
    end_shortage();
}

static trial *make_large_trial(void)
{
    trial *t = make_trial();
    t->items[30].size = t->items[31].size = 100000;
    t->items[40].size = 3 << 20;
    t->items[13].crash = true;
    return t;
}

/* A call that was refused as a whole ran nothing; otherwise it is as sound as any. */
static void expect_sound_or_refused(trial *t, const char *when)
{
    if (t->status && t->error.item == MP_NO_ITEM) {
        cr_assert(eq(int, t->status, MP_ENOMEM), "%s: %s", when, t->error.message);
        cr_assert(zero(int, tally->begun), "%s", when);
        return;
    }
    expect_sound(t, when);
    for (size_t i = 0; i < N; i++)
        if (t->statuses[i] == MP_ENOMEM)
            cr_assert(says(&t->errors[i], "memory"), "%s: item %zu: %s", when, i, t->errors[i].message);
}

static void sweep_map(const char *whose, int most)
{
    trial *t = make_large_trial();
    char *load = malloc(200000);
    memset(load, 1, 200000);
    t->items[20].load = t->items[21].load = (mp_bytes){load, 200000};
    int first = 0, struck = 0;
    for (; first < most; first += 1 + first / 20) { /* ever fewer of them, for they are alike */
        char when[64];
        mp_pool *pool;
        snprintf(when, sizeof when, "%s, allocation %d", whose, first);
        disarm();
        cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
        arm(first, 1);
        run_map(pool, t);
        int hit = plot->failed;
        disarm();
        expect_sound_or_refused(t, when);
        struck += hit;
        run_map(pool, t); /* and there is memory again */
        cr_assert(le(int, expect_sound(t, when), 1), "%s: %s", when, t->error.message);
        mp_pool_free(&pool);
        if (!hit && first > 5)
            break;
    }
    cr_assert(gt(int, struck, 2));
    free(load);
    free(t);
}

CHECK(memory, runs_out_in_the_program_during_a_map__each_item_has_a_status)
{
    begin_shortage(OURS);
    sweep_map("the program's", ROUNDS(400));
    end_shortage();
}

CHECK(memory, runs_out_in_a_worker__each_item_has_a_status)
{
    begin_shortage(THEIRS);
    sweep_map("a worker's", ROUNDS(400));
    end_shortage();
}

/* For good: what workers say when they greet cannot be read either. */
CHECK(memory, is_gone_while_the_pool_opens__says_so)
{
    int hit = 1;
    begin_shortage(OURS);
    for (int first = 0; hit; first++) {
        mp_pool *pool;
        mp_error error;
        arm(first, 1000000);
        mp_status status = mp_pool_open(&pool, .processes = 2, .error = &error);
        hit = plot->failed;
        disarm();
        cr_assert(hit || status == MP_OK, "allocation %d: %s", first, error.message);
        cr_assert(status == MP_OK || says(&error, "memory"), "allocation %d: %s", first, error.message);
        mp_pool_free(&pool);
    }
    end_shortage();
}

/* All of it, for good: still no call hangs. */
static void run_dry(int whose)
{
    begin_shortage(whose);
    trial *t = make_large_trial();
    for (int first = 0; first < 12; first++) {
        mp_pool *pool;
        disarm();
        cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
        arm(first, 1000000);
        run_map(pool, t);
        disarm();
        expect_sound_or_refused(t, "no memory at all");
        mp_pool_free(&pool);
    }
    free(t);
    end_shortage();
}

CHECK(memory, is_gone_in_the_program__map_ends)
{
    run_dry(OURS);
}
CHECK(memory, is_gone_in_the_workers__map_ends)
{
    run_dry(THEIRS);
}

/* Each says so, and then that it has ended: also when there was one without memory before it. */
CHECK(memory, is_gone_when_streams_begin__each_says_so_once)
{
    trial *t = make_trial();
    mp_pool *pool;
    begin_shortage(OURS);
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
    for (int round = 0; round < 3; round++) {
        mp_bytes bytes;
        arm(0, 1);
        mp_iter *stream = mp_pool_imap(pool, work, t->items, N);
        disarm();
        cr_assert(eq(int, mp_iter_next(stream, &bytes, PROMPT), MP_ENOMEM), "round %d", round);
        if (round != 1)
            cr_assert(eq(int, mp_iter_next(stream, &bytes, PROMPT), MP_END));
        mp_iter_free(&stream);
    }
    mp_pool_free(&pool);
    free(t);
    end_shortage();
}

/* ---- one that is too large ---- */

enum { LARGE = 8 << 20 };
static pid_t the_program;

static void *malloc_of_a_small_worker(size_t size)
{
    return size >= LARGE && getpid() != the_program ? NULL : malloc(size);
}

static mp_status count_bytes(const mp_bytes *in, size_t *out, mp_call *call)
{
    (void)call;
    *out = in->size;
    return MP_OK;
}
MP_TASK(count_bytes, mp_bytes, size_t);

static void expect_one_too_large(mp_pool *pool, size_t which)
{
    static char bytes[LARGE];
    mp_bytes items[N];
    size_t sizes[N];
    mp_status statuses[N];
    mp_error error;
    for (size_t i = 0; i < N; i++)
        items[i] = (mp_bytes){bytes, i == which ? sizeof bytes : 100 * i};
    cr_assert(eq(int, mp_pool_map(pool, count_bytes, items, N, sizes, .statuses = statuses, .error = &error), MP_ENOMEM),
              "%s", error.message);
    cr_assert(eq(sz, error.item, which));
    cr_assert(says(&error, "no memory for its 83"), "%s", error.message);
    for (size_t i = 0; i < N; i++)
        cr_assert(i == which ? statuses[i] == MP_ENOMEM : statuses[i] == MP_OK && sizes[i] == 100 * i, "item %zu", i);
}

CHECK(memory, of_a_worker_is_too_small_for_an_item__costs_that_item)
{
    mp_pool *pool;
    mp_pool_stats stats;
    real_memory = mp__memory;
    the_program = getpid();
    mp__memory.malloc = malloc_of_a_small_worker;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
    for (size_t which = 0; which < N; which += N / 4)
        expect_one_too_large(pool, which);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&pool);
    mp__memory = real_memory;
}
