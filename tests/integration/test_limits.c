/* What worker processes may use, when they are replaced for it, and what becomes of what they print. */
#include "tests/lib/program.h"
#include "tests/lib/stuck.h"
#include <sys/resource.h>
#include <sys/stat.h>

TestSuite(limits, .timeout = 60);
TestSuite(memory, .timeout = 60);

enum { MIB = 1 << 20 };
static int got;

/* ---- limits ---- */

/* What setrlimit was told, for the resource that is asked for; -1: no limit. */
static mp_status tell_limit(const int *in, int64_t *out, mp_call *call)
{
    struct rlimit limit;
    (void)call;
    if (getrlimit((__rlimit_resource_t)*in, &limit))
        return MP_ESYSTEM;
    *out = limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
    return MP_OK;
}
MP_TASK(tell_limit, int, int64_t);

static int64_t limit_in(mp_pool *pool, int resource)
{
    int64_t limit = -2;
    mp_error error;
    cr_assert(eq(int, mp_pool_apply(pool, tell_limit, &resource, &limit, .error = &error), MP_OK), "%s", error.message);
    return limit;
}

static int64_t own_limit(int resource)
{
    struct rlimit limit;
    getrlimit((__rlimit_resource_t)resource, &limit);
    return limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
}

EACH_PROCESS_KIND(limits, none__are_the_programs)
{
    static const int all[] = {RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_CORE};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(i64, limit_in(pool, all[i]), own_limit(all[i])), "%d", all[i]);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(limits, given__hold_in_every_worker_and_in_none_but_them)
{
    static const int all[] = {RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_CORE};
    int64_t before[4];
    for (int i = 0; i < 4; i++)
        before[i] = own_limit(all[i]);
    mp_pool *pool = OPEN_POOL(.processes = 1, .limits = {.cpu_time = 1000, .file_size = 5 * MIB, .core = MP_NO_CORE});
    for (int life = 0; life < 2; life++) {
        cr_assert(eq(i64, limit_in(pool, RLIMIT_CPU), 1000));
        cr_assert(eq(i64, limit_in(pool, RLIMIT_FSIZE), 5 * MIB));
        cr_assert(zero(i64, limit_in(pool, RLIMIT_CORE)));
        cr_assert(eq(i64, limit_in(pool, RLIMIT_AS), before[0]));
        cr_assert(eq(int, mp_pool_apply(pool, behave, (&(int){AS(CRASHES, 0)}), &got), MP_ECRASHED));
    }
    for (int i = 0; i < 4; i++)
        cr_assert(eq(i64, own_limit(all[i]), before[i]));
    free_working(&pool);
}

EACH_PROCESS_KIND(limits, cpu_time__ends_the_item_that_runs_then)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .limits = {.cpu_time = 1});
    trial_begin(5);
    one_is(2, SPINS);
    RUN(pool, .chunksize = 5);
    expect_only_fine_ones(MP_ECRASHED);
    cr_assert(eq(int, t.errors[2].signal, SIGXCPU), "%s", t.errors[2].message);
    expect_each_began(1);
    free_working(&pool);
}

/* Writes so many bytes into a file without a name. */
static mp_status write_file(const int *in, int *out, mp_call *call)
{
    (void)call;
    FILE *file = tmpfile();
    if (!file)
        return MP_ESYSTEM;
    for (int i = 0; i < *in; i++)
        putc('x', file);
    *out = fflush(file) == 0 ? *in : -1;
    fclose(file);
    return MP_OK;
}
MP_TASK(write_file, int, int);

EACH_PROCESS_KIND(limits, file_size__ends_who_writes_more)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .limits = {.file_size = MIB});
    int sizes[] = {1000, 2 * MIB, 1000}, results[3];
    mp_status statuses[3];
    mp_error errors[3];
    mp_status status = mp_pool_map(pool, write_file, sizes, 3, results, .statuses = statuses, .errors = errors);
    cr_assert(eq(int, status, MP_ECRASHED));
    cr_assert(eq(int, statuses[0], MP_OK));
    cr_assert(eq(int, statuses[1], MP_ECRASHED));
    cr_assert(eq(int, statuses[2], MP_OK));
    cr_assert(eq(int, errors[1].signal, SIGXFSZ), "%s", errors[1].message);
    free_working(&pool);
}

static mp_status take_memory(const int *mib, int *out, mp_call *call)
{
    size_t size = (size_t)*mib << 20;
    unsigned char *memory = malloc(size);
    if (!memory)
        return mp_fail(call, MP_ENOMEM, "no %d MiB", *mib);
    memset(memory, 1, size);
    *out = memory[size / 2];
    free(memory);
    return MP_OK;
}
MP_TASK(take_memory, int, int);

/* A sanitizer maps terabytes. */
#if !CHECK_ASAN && !CHECK_TSAN
EACH_PROCESS_KIND(limits, address_space__lets_malloc_fail)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .limits = {.address_space = 512u << 20});
    int sizes[] = {10, 600, 10}, results[3];
    mp_status statuses[3];
    mp_status status = mp_pool_map(pool, take_memory, sizes, 3, results, .statuses = statuses);
    cr_assert(eq(int, status, MP_ENOMEM));
    cr_assert(eq(int, statuses[0], MP_OK));
    cr_assert(eq(int, statuses[2], MP_OK));
    cr_assert(eq(u64, stats_of(pool).started, 1));
    free_working(&pool);
}
#endif

static void asks_for_more_than_it_has(void)
{
    mp_pool *pool = (mp_pool *)1;
    mp_error error;
    struct rlimit limit = {100, 100};
    MUST(setrlimit(RLIMIT_CPU, &limit) == 0);
    mp_status status = mp_pool_open(&pool, OPTIONS, .processes = 1, .limits = {.cpu_time = 1000}, .error = &error);
    MUST(status != MP_OK && !pool && error.status == status && error.message[0]);
    MUST(mp_pool_open(&pool, OPTIONS, .processes = 1, .limits = {.cpu_time = 50}) == MP_OK);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(limits, more_than_the_program_has__cannot_be_given)
{
    pid_t program = program_begin(asks_for_more_than_it_has, -1);
    EXPECT_GOOD_END(program);
}

/* ---- memory ---- */

/* So many MiB more, which it never gives back. */
static mp_status take_for_good(size_t mib)
{
    void *memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? MP_ENOMEM : MP_OK;
}

static mp_status leak(const int *mib, int *out, mp_call *call)
{
    board_begin(call);
    *out = (int)getpid();
    return take_for_good((size_t)*mib);
}
MP_TASK(leak, int, int);

EACH_PROCESS_KIND(memory, worker_that_has_too_much__is_replaced_and_no_item_suffers)
{
    enum { N = 12 };
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxrss = 300u << 20);
    int sizes[N], pids[N], lives = 1;
    for (int i = 0; i < N; i++)
        sizes[i] = 100;
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, leak, sizes, N, pids, .chunksize = 1, .error = &error), MP_OK), "%s",
              error.message);
    cr_assert(eq(sz, board_find_other(N, 1), N));
    for (int i = 1; i < N; i++)
        lives += pids[i] != pids[i - 1];
    cr_assert(ge(int, lives, 3));
    cr_assert(le(int, lives, N));
    expect_works(pool);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(ge(u64, stats.recycled, (uint64_t)lives - 1));
    cr_assert(zero(u64, stats.lost));
    cr_assert(ge(u64, stats.started, (uint64_t)lives));
    close_join_free(&pool);
}

/* 50 MiB for each byte of a small input. */
static mp_status grow(const mp_bytes *in, int *out, mp_call *call)
{
    (void)call;
    *out = (int)getpid();
    return in->size < 8 ? take_for_good(50 * in->size) : MP_OK;
}
MP_TASK(grow, mp_bytes, int);

/* The memory of a large input, which is kept for the next, is nothing that a task has taken. Not with AddressSanitizer, which itself keeps
 * what is freed. */
EACH_PROCESS_KIND(memory, large_item_that_is_over__does_not_count)
{
    if (CHECK_ASAN)
        return;
    enum { N = 3 };
    static char data[150 << 20];
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxrss = 300u << 20);
    const mp_bytes in[N] = {{data, sizeof data}, {data, 4}, {data, 1}};
    int pids[N];
    mp_error error;
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_pool_apply(pool, grow, &in[i], &pids[i], .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(int, pids[1], pids[0]));
    cr_assert(eq(int, pids[2], pids[0]), "150 MiB kept and 200 taken: only the latter count");
    cr_assert(zero(u64, stats_of(pool).recycled));
    close_join_free(&pool);
}

EACH_PROCESS_KIND(memory, workers_that_have_less__stay)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .maxrss = (uint64_t)8 << 30);
    trial_begin(200);
    RUN(pool, .chunksize = 3);
    expect_only_fine_ones(MP_OK);
    cr_assert(zero(u64, stats_of(pool).recycled));
    cr_assert(eq(u64, stats_of(pool).started, 2));
    free_working(&pool);
}
