/* A task that ends its own worker costs its own item and no other: the tasks themselves count in shared memory how often each
 * item began and ended, and the statuses that a map gives must agree with that count.
 *
 * The oracle, for every map: an item with MP_OK ran exactly once, to its end, and its result is right; one that was to crash
 * began once, did not end, and its error says which signal or exit code ended which process; none began twice. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <millpond.h>
#include <sys/resource.h>

TestSuite(crash, .timeout = 120);
TestSuite(vandal, .timeout = 120);

enum { N = 100, CHUNK = 20, PROMPT = 20 };

typedef enum deed {
    NONE,
    BY_SIGKILL,
    BY_SIGSEGV,
    BY_ABORT,
    BY_EXIT_3, /* _exit(3) */
    BY_EXIT_0, /* exit(0) */
    BY_STACK,  /* without end */
    BY_EXEC,   /* of another program, which succeeds */
    CRASHES,
    CLOSE_ALL = CRASHES, /* descriptors 3 to 4096 */
    CLOSE_STANDARD,      /* descriptors 0 to 2, by fclose */
    GARBAGE,             /* tally->word[0] bytes of tally->word[1] into descriptor 4 */
    FORK_CHILD,          /* which stays */
    SCRIBBLE             /* over standard output */
} deed;

static int recurse(volatile int *from, int depth)
{
    volatile int frame[1024];
    if (depth < 0)
        return 0;
    frame[depth % 1024] = *from + depth;
    return recurse(frame, depth + 1) + frame[(depth + 1) % 1024];
}

static void crash(deed how)
{
    volatile int zero = 0;
    volatile char *page;
    switch (how) {
    case BY_SIGKILL: raise(SIGKILL); break;
    case BY_SIGSEGV:
        page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        break;
    case BY_ABORT: abort();
    case BY_EXIT_3: _exit(3);
    case BY_EXIT_0: exit(0);
    case BY_STACK: recurse(&zero, 0); break;
    case BY_EXEC: execl("/bin/true", "true", NULL); break;
    default: break;
    }
}

/* The pipe for results is the worker's last descriptor. */
static int results_pipe(void)
{
    int last = sysconf(_SC_OPEN_MAX) > 4096 ? 4096 : (int)sysconf(_SC_OPEN_MAX);
    while (last > 2 && fcntl(last, F_GETFD) < 0)
        last--;
    return last > 2 ? last : -1;
}

static void write_garbage(void)
{
    int pipe = results_pipe();
    char bytes[4096];
    memset(bytes, tally->word[1], sizeof bytes);
    for (int left = tally->word[0]; left > 0;) {
        ssize_t wrote = write(pipe, bytes, left < 4096 ? (size_t)left : sizeof bytes);
        if (wrote <= 0)
            return;
        left -= (int)wrote;
    }
}

static void do_deed(deed how)
{
    if (how < CRASHES)
        crash(how);
    if (how == CLOSE_ALL)
        for (int fd = 3; fd <= 4096; fd++)
            close(fd);
    if (how == CLOSE_STANDARD) {
        fclose(stdin);
        fclose(stdout);
        fclose(stderr);
    }
    if (how == GARBAGE)
        write_garbage();
    if (how == FORK_CHILD) {
        pid_t child = fork();
        if (!child)
            for (;;)
                pause();
        tally->word[2] = child;
    }
    if (how == SCRIBBLE)
        for (int i = 0; i < 300; i++)
            if (printf("a line of a task's%c", i % 60 ? ' ' : '\n') < 0)
                break;
}

typedef struct order {
    int deed;
    uint32_t size; /* of the result's bytes */
} order;
MP_TYPE(order, deed, size);

typedef struct product {
    int64_t number;
    mp_bytes bytes;
} product;
MP_TYPE(product, number, bytes);

static int64_t number_of(size_t item)
{
    return (int64_t)(item * item) - 17;
}

static mp_status work(const order *in, product *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    do_deed((deed)in->deed);
    out->number = number_of(item);
    if (in->size) {
        void *bytes = mp_call_alloc(call, in->size);
        memset(bytes, (int)item, in->size);
        out->bytes = (mp_bytes){bytes, in->size};
    }
    ledger_end(item);
    return MP_OK;
}
MP_TASK(work, order, product);

/* ---- one map, and what is true of it ---- */

typedef struct trial {
    order items[N];
    product results[N];
    mp_status statuses[N], status;
    mp_error errors[N], error;
} trial;

static trial *begin_trial(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    cr_assert(ledger_open(N));
    return calloc(1, sizeof(trial));
}

static void end_trial(trial *t)
{
    free(t);
    ledger_close();
}

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

static void expect_success(const trial *t, size_t i)
{
    const product *result = &t->results[i];
    cr_assert(eq(int, t->statuses[i], MP_OK), "item %zu: %s", i, t->errors[i].message);
    cr_assert(is_zero(&t->errors[i], sizeof t->errors[i]));
    cr_assert(eq(int, tally->lines[i].begun, 1), "item %zu", i);
    cr_assert(eq(int, tally->lines[i].ended, 1), "item %zu", i);
    cr_assert(eq(i64, result->number, number_of(i)));
    cr_assert(eq(sz, result->bytes.size, t->items[i].size));
    for (size_t k = 0; k < result->bytes.size; k++)
        if (((const unsigned char *)result->bytes.data)[k] != (unsigned char)i)
            cr_fatal("item %zu, byte %zu", i, k);
}

static int signal_of(deed how)
{
    switch (how) {
    case BY_SIGKILL: return SIGKILL;
    case BY_ABORT: return SIGABRT;
    case BY_SIGSEGV:
    case BY_STACK: return SIGSEGV;
    default: return 0;
    }
}

static const char *text_of(deed how)
{
    switch (how) {
    case BY_SIGKILL: return "SIGKILL";
    case BY_ABORT: return "SIGABRT";
    case BY_SIGSEGV:
    case BY_STACK: return "SIGSEGV";
    case BY_EXIT_3: return "code 3";
    default: return "code 0";
    }
}

static void expect_crash(const trial *t, size_t i, int processes)
{
    const mp_error *error = &t->errors[i];
    deed how = (deed)t->items[i].deed;
    int signal = signal_of(how);
    cr_assert(eq(int, t->statuses[i], MP_ECRASHED), "item %zu: %s", i, error->message);
    cr_assert(eq(int, error->status, MP_ECRASHED));
    cr_assert(eq(int, error->signal, signal), "item %zu", i);
    cr_assert(eq(int, error->exit_code, signal ? -1 : how == BY_EXIT_3 ? 3 : 0), "item %zu", i);
    cr_assert(says(error, text_of(how)), "item %zu: %s", i, error->message);
    cr_assert(eq(sz, error->item, i));
    cr_assert(eq(str, (char *)error->task, "work"));
    cr_assert(eq(int, error->pid, tally->lines[i].pid), "item %zu: the process that ran it", i);
    cr_assert(error->worker >= 0 && error->worker < processes);
    cr_assert(eq(int, tally->lines[i].begun, 1), "item %zu", i);
    cr_assert(zero(int, tally->lines[i].ended), "item %zu", i);
    cr_assert(is_zero(&t->results[i], sizeof t->results[i]), "item %zu", i);
}

static void run_map(trial *t, mp_pool *pool)
{
    ledger_clear();
    spoil(t->results, sizeof *t - offsetof(trial, results));
    t->status = mp_pool_map(pool, work, t->items, N, t->results, .chunksize = CHUNK, .statuses = t->statuses,
                            .errors = t->errors, .error = &t->error);
}

/* Maps, and holds everything against the oracle. */
static void try_map(trial *t, mp_pool *pool, int processes)
{
    size_t first = N;
    run_map(t, pool);
    for (size_t i = 0; i < N; i++) {
        if (t->items[i].deed == NONE || t->items[i].deed >= CRASHES) {
            expect_success(t, i);
        } else {
            expect_crash(t, i, processes);
            first = first < i ? first : i;
        }
    }
    cr_assert(eq(int, t->status, first < N ? MP_ECRASHED : MP_OK));
    if (first < N)
        cr_assert(zero(int, memcmp(&t->error, &t->errors[first], sizeof t->error)), "the call's error is the first item's");
    else
        cr_assert(is_zero(&t->error, sizeof t->error));
    mp_free(product, t->results, N);
}

/* ---- item-exact loss ---- */

static void lose_one_item(deed how, int rounds)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = how;
    for (int round = 0; round < rounds; round++)
        try_map(t, pool, 2);
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.failed, (uint64_t)rounds));
    cr_assert(eq(u64, stats.succeeded, (uint64_t)rounds * (N - 1)));
    cr_assert(eq(u64, stats.lost, (uint64_t)rounds));
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_one_item_of_a_fresh_pool(deed how, int rounds)
{
    trial *t = begin_trial();
    t->items[10].deed = how;
    for (int round = 0; round < rounds; round++) {
        mp_pool *pool = open_pool(2);
        try_map(t, pool, 2);
        mp_pool_free(&pool);
    }
    end_trial(t);
}

#define LOSE_ONE_ITEM(name, how, rounds)                                                                                   \
    CHECK(crash, item_10_of_100_by_##name##__costs_that_item)                                                              \
    {                                                                                                                      \
        lose_one_item(how, ROUNDS(rounds));                                                                                \
    }                                                                                                                      \
    CHECK(crash, item_10_of_100_of_a_fresh_pool_by_##name##__costs_that_item)                                              \
    {                                                                                                                      \
        lose_one_item_of_a_fresh_pool(how, ROUNDS((rounds) / 5));                                                          \
    }
LOSE_ONE_ITEM(sigkill, BY_SIGKILL, 200)
LOSE_ONE_ITEM(sigsegv, BY_SIGSEGV, 200)
LOSE_ONE_ITEM(abort, BY_ABORT, 200)
LOSE_ONE_ITEM(underscore_exit_3, BY_EXIT_3, 200)
LOSE_ONE_ITEM(exit_0, BY_EXIT_0, 200)
LOSE_ONE_ITEM(stack_overflow, BY_STACK, 50)
LOSE_ONE_ITEM(exec, BY_EXEC, 50)

/* ---- which items ---- */

/* Every place in turn: chunk edges, the very first, the very last. */
CHECK(crash, each_item_in_turn__costs_that_item)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < N; i += ROUNDS_SLOWER == 1 ? 1 : 19) {
        t->items[i].deed = 1 + (int)i % (BY_EXIT_0 - 1);
        try_map(t, pool, 2);
        t->items[i].deed = NONE;
    }
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, first_and_last_of_each_chunk__cost_those_items)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = i % CHUNK == 0 ? BY_SIGKILL : i % CHUNK == CHUNK - 1 ? BY_EXIT_0 : NONE;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, two_in_one_chunk__cost_those_two)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[24].deed = BY_SIGSEGV;
    t->items[31].deed = BY_EXIT_3;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, neighbours__cost_those_items)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 38; i < 43; i++)
        t->items[i].deed = BY_SIGKILL;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_every_item(int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = 1 + (int)i % BY_EXIT_0;
    for (int round = 0; round < ROUNDS(4); round++)
        try_map(t, pool, processes);
    memset(t->items, 0, sizeof t->items);
    try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_some_items(int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = i % 9 == 4 ? 1 + (int)i % BY_EXIT_0 : NONE;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

#define LOSE_ITEMS(processes)                                                                                              \
    CHECK(crash, every_item_with_##processes##_workers__each_has_its_own_report)                                           \
    {                                                                                                                      \
        lose_every_item(processes);                                                                                        \
    }                                                                                                                      \
    CHECK(crash, some_items_with_##processes##_workers__cost_those_items)                                                  \
    {                                                                                                                      \
        lose_some_items(processes);                                                                                        \
    }
LOSE_ITEMS(1)
LOSE_ITEMS(2)
LOSE_ITEMS(7)

/* The one item of an apply. */
CHECK(crash, apply__tells_it)
{
    order item = {.deed = BY_ABORT};
    product result;
    mp_error error;
    trial *t = begin_trial();
    mp_pool *pool = open_pool(1);
    spoil(&result, sizeof result);
    cr_assert(eq(int, mp_pool_apply(pool, work, &item, &result, .error = &error), MP_ECRASHED));
    cr_assert(eq(int, error.signal, SIGABRT));
    cr_assert(zero(sz, error.item));
    cr_assert(is_zero(&result, sizeof result));
    item.deed = NONE;
    cr_assert(eq(int, mp_pool_apply(pool, work, &item, &result), MP_OK));
    mp_pool_free(&pool);
    end_trial(t);
}

/* ---- results that were still on their way ---- */

static void lose_one_behind_results(uint32_t size, int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].size = i % CHUNK < 10 ? size : 3;
    for (size_t i = 10; i < N; i += CHUNK)
        t->items[i] = (order){.deed = i % 3 ? BY_SIGKILL : BY_EXIT_0};
    for (int round = 0; round < 3; round++)
        try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, behind_small_results__costs_none_of_them)
{
    lose_one_behind_results(100, 1);
    lose_one_behind_results(100, 2);
}
CHECK(crash, behind_results_that_fill_the_pipe__costs_none_of_them)
{
    lose_one_behind_results(60000, 2);
}
CHECK(crash, behind_results_of_one_mib__costs_none_of_them)
{
    lose_one_behind_results(1 << 20, 2);
}
CHECK(crash, behind_a_result_of_8_mib__costs_it_not)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(1);
    t->items[9].size = t->items[11].size = 8 << 20;
    t->items[10].deed = BY_SIGKILL;
    for (int round = 0; round < ROUNDS(10); round++)
        try_map(t, pool, 1);
    mp_pool_free(&pool);
    end_trial(t);
}

/* ---- tasks that damage what is around them, and go on ---- */

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

static void try_garbage(trial *t, mp_pool *pool, int size, int byte)
{
    tally->word[0] = size;
    tally->word[1] = byte;
    /* What the worker had finished but not sent goes with it: its own chunk and, with credit, the next ones. */
    expect_damage_contained(t, pool, N);
}

CHECK(vandal, writes_a_page_of_garbage_among_the_results__is_ended_and_the_map_too)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = GARBAGE;
    for (int byte = 0; byte < 256; byte += ROUNDS_SLOWER == 1 ? 5 : 51)
        try_garbage(t, pool, 4096, byte);
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
        try_garbage(t, pool, 1, byte);
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
            try_garbage(t, pool, size, bytes[i]);
    mp_pool_free(&pool);
    end_trial(t);
}

/* The child holds copies of the worker's pipes: their end never comes, and death must be noticed without it. */
static void end_task_child(void)
{
    pid_t child = tally->word[2];
    cr_assert(gt(int, child, 1));
    cr_assert(proc_lives(child), "nobody has ended the task's child");
    kill(child, SIGKILL);
    cr_assert(UNTIL(PROMPT, !proc_lives(child)));
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
    end_task_child();
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
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
    end_task_child();
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
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
