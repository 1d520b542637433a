/* A finished result does not wait for the next item: whatever runs behind it on the same worker, it can be read, on every kind of
 * pool. And what is looked for while workers write it down is neither lost, nor twice, nor torn. */
#include "pool/dispatch_state.h"
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>

TestSuite(late, .timeout = 60);
TestSuite(looking, .timeout = 120);

enum { BLOCKS = -1, FAILS = -2, QUICK = 5 };

/* Waits at the gate, or fails, or is quick. */
static mp_status hold_some(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (*in == BLOCKS && !the_board()->gate)
        nap_us(200);
    if (*in == FAILS)
        return mp_fail(call, MP_EUSER, "as it was told to");
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(hold_some, int, int);

/* Reads items [first, last) of an ordered stream of quick ones. */
static void expect_next(mp_iter *iter, int first, int last)
{
    for (int i = first; i < last; i++) {
        int result = 0;
        size_t index = SIZE_MAX;
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT, .index = &index), MP_OK), "item %d", i);
        cr_assert(eq(sz, index, i));
        cr_assert(eq(int, result, i + 1));
    }
}

/* One worker runs n items, of which `blocked` does not end before the gate opens: all before it are readable, and it is not. */
static void read_up_to(int n, int blocked, int chunksize)
{
    static int items[1000];
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, n);
    items[blocked] = BLOCKS;
    mp_iter *iter = mp_pool_imap(pool, hold_some, items, n, .chunksize = chunksize);
    int result;
    cr_assert(SOON(the_board()->begun == blocked + 1), "nobody reads, nobody drives but the pool's own thread");
    expect_next(iter, 0, blocked);
    cr_assert(eq(int, mp_iter_next(iter, &result, 0), MP_ETIMEDOUT));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
    cr_assert(zero(int, result));
    expect_next(iter, blocked + 1, n);
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    cr_assert(eq(int, the_board()->ended, n), "each once");
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_KIND(late, item_by_item__is_read_while_the_next_one_runs)
{
    read_up_to(3, 1, 1);
}

EACH_KIND(late, in_a_chunk__is_read_while_the_next_one_runs)
{
    read_up_to(21, 3, 7);
}

EACH_KIND(late, behind_many_short_ones__is_read_while_a_long_one_runs)
{
    read_up_to(1000, 700, 0);
}

EACH_KIND(late, read_by_one_who_waits_already__comes)
{
    int items[] = {0, BLOCKS, 2}, result;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_iter *iter = mp_pool_imap(pool, hold_some, items, 3, .chunksize = 1);
    expect_next(iter, 0, 1); /* it drives meanwhile */
    the_board()->gate = 1;
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
    expect_next(iter, 2, 3);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_KIND(late, of_an_unordered_stream__is_read_while_the_next_one_runs)
{
    int items[] = {QUICK, QUICK, BLOCKS, QUICK}, result;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_iter *iter = mp_pool_imap_unordered(pool, hold_some, items, 4, .chunksize = 4);
    for (int i = 0; i < 2; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, QUICK + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, &result, 0), MP_ETIMEDOUT));
    the_board()->gate = 1;
    for (int i = 0; i < 2; i++)
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_KIND(late, with_nobody_who_waits__makes_the_descriptor_readable)
{
    int items[] = {0, BLOCKS, 2}, result;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_iter *iter = mp_pool_imap(pool, hold_some, items, 3, .chunksize = 1);
    struct pollfd fd = {.fd = mp_iter_fd(iter), .events = POLLIN};
    cr_assert(eq(int, poll(&fd, 1, PROMPT * 1000), 1));
    expect_next(iter, 0, 1);
    cr_assert(zero(int, poll(&fd, 1, 0)));
    the_board()->gate = 1;
    cr_assert(eq(int, poll(&fd, 1, PROMPT * 1000), 1));
    cr_assert(eq(int, mp_iter_next(iter, &result, 0), MP_OK));
    expect_next(iter, 2, 3);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static void count_call(const int *results, size_t n, void *user)
{
    (void)results;
    *(_Atomic int *)user += (int)n;
}

/* The worker has all three calls at once, and the second of them blocks. */
EACH_KIND(late, call_before_one_that_runs__has_its_callback)
{
    int first[] = {1, 2, 3}, second[] = {4, BLOCKS}, third[] = {6};
    _Atomic int told[3] = {0};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *calls[] = {
        mp_pool_map_async(pool, hold_some, first, 3, .callback = count_call, .user = (void *)&told[0]),
        mp_pool_map_async(pool, hold_some, second, 2, .callback = count_call, .user = (void *)&told[1]),
        mp_pool_map_async(pool, hold_some, third, 1, .callback = count_call, .user = (void *)&told[2]),
    };
    cr_assert(SOON(told[0] == 3));
    cr_assert(zero(int, told[1] + told[2]));
    the_board()->gate = 1;
    cr_assert(SOON(told[1] == 2 && told[2] == 1));
    for (int i = 0; i < 3; i++)
        mp_async_free(&calls[i]);
    mp_pool_free(&pool);
}

EACH_KIND(late, failure__is_read_while_the_next_one_runs)
{
    int items[] = {FAILS, BLOCKS, 2}, result;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_iter *iter = mp_pool_imap(pool, hold_some, items, 3, .chunksize = 3);
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_EUSER));
    cr_assert(says(mp_iter_error(iter), "as it was told to"));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
    expect_next(iter, 2, 3);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* However many results come from elsewhere: here the wait for a silence would never end. */
EACH_KIND(late, beside_a_worker_that_is_never_silent__is_read_all_the_same)
{
    enum { FLOOD = ROUNDS(1 << 18) };
    static int items[FLOOD];
    size_t index = SIZE_MAX;
    mp__looking_times.first_ns = 3600 * 1000000000ull;
    fill(items, FLOOD);
    items[1] = BLOCKS;
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_iter *iter = mp_pool_imap_unordered(pool, hold_some, items, FLOOD, .chunksize = 2);
    for (int i = 1; i < FLOOD && index != 0; i++)
        cr_assert(eq(int, mp_iter_next(iter, NULL, PROMPT, .index = &index), MP_OK));
    cr_assert(zero(sz, index));
    the_board()->gate = 1;
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* ---- what it costs ---- */

/* Of all threads of ours but this one, in half a second. */
static long long cost_while(mp_pool *pool, const int *items, size_t n)
{
    mp_iter *iter = mp_pool_imap(pool, hold_some, items, n, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 1));
    nap_us(50000); /* until it is quiet; not needed to be right: it would only cost */
    long long before = proc_cpu_ns(getpid());
    nap_us(500000);
    long long spent = proc_cpu_ns(getpid()) - before;
    the_board()->gate = 1;
    while (mp_iter_next(iter, NULL, PROMPT) != MP_END)
        ;
    mp_iter_free(&iter);
    board_clear(n);
    the_board()->gate = 0;
    return spent;
}

/* A single item has nothing to hide. Behind it, one more is looked for a hundred times a second at most. */
EACH_PROCESS_KIND(looking, while_one_item_runs__costs_nothing_or_little)
{
    int items[] = {BLOCKS, BLOCKS};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    long long alone = cost_while(pool, items, 1), two = cost_while(pool, items, 2);
    cr_assert(lt(long, (long)alone, CHECK_TSAN ? 20000000 : 1000000), "%lld ns", alone);
    cr_assert(lt(long, (long)two, CHECK_TSAN ? 100000000 : 25000000), "%lld ns", two);
    mp_pool_free(&pool);
}

/* ---- storms ---- */

enum { STORM = 100000, LARGE = 30000, MOST = 200 };

static uint64_t mix(uint64_t x)
{
    x = (x + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 31);
}

/* How long item i takes: most no time, some up to half a millisecond. */
static double pause_of(size_t i)
{
    uint64_t x = mix(i);
    return x % 100 ? 0 : (double)(x / 100 % 500) * 1e-6;
}

/* How many bytes its result has: most a few, so that one of a wrong item has the wrong size or the wrong bytes; one that goes past
 * the buffer now and then. */
static size_t size_of(size_t i)
{
    uint64_t x = mix(~i);
    return x % 500 ? x / 500 % MOST : LARGE + x / 500 % 1000;
}

static unsigned char byte_of(size_t i)
{
    return (unsigned char)(mix(i ^ 0xabcdef) >> 7);
}

static mp_status storm(const mp_none *in, mp_bytes *out, mp_call *call)
{
    (void)in;
    size_t i = mp_call_item(call), size = size_of(i);
    board_begin(call);
    the_board()->word[mp_call_worker(call) % 2] = (int)getpid();
    for (double until = pause_of(i) ? seconds_now() + pause_of(i) : 0; until > seconds_now();)
        continue;
    void *bytes = mp_call_alloc(call, size + 1);
    memset(bytes, byte_of(i), size);
    *out = (mp_bytes){bytes, size};
    return MP_OK;
}
MP_TASK(storm, mp_none, mp_bytes);

static bool is_of(const mp_bytes *bytes, size_t i)
{
    const unsigned char *at = bytes->data;
    if (bytes->size != size_of(i))
        return false;
    return !bytes->size || (at[0] == byte_of(i) && !memcmp(at, at + 1, bytes->size - 1));
}

static const mp__looking eager[] = {{1000, 1000}, {20000, 40000}, {1000, 300000}};
static const int chunks[] = {0, 1, 7};
enum { WAYS = 3 };

/* In order: each once, none lost. */
static void read_storm(mp_pool *pool, size_t n, int chunksize)
{
    mp_bytes bytes;
    mp_iter *iter = mp_pool_imap(pool, storm, NULL, n, .chunksize = chunksize);
    for (size_t i = 0, index; i < n; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &bytes, PROMPT, .index = &index), MP_OK), "%s", mp_iter_error(iter)->message);
        cr_assert(eq(sz, index, i));
        cr_assert(is_of(&bytes, i), "item %zu", i);
        mp_free(mp_bytes, &bytes, 1);
    }
    cr_assert(eq(int, mp_iter_next(iter, &bytes, PROMPT), MP_END));
    mp_iter_free(&iter);
    cr_assert(eq(sz, board_find_other(n, 1), n), "each began once");
    board_clear(n);
}

EVERY_KIND(looking, while_workers_write__loses_nothing_and_tells_nothing_twice)
{
    for (int way = 0; way < WAYS; way++) {
        mp__looking_times = eager[way];
        mp_pool *pool = OPEN_POOL(.processes = 2);
        read_storm(pool, ROUNDS(STORM / WAYS), chunks[way]);
        mp_pool_free(&pool);
    }
}

/* A map, whose caller drives; and nobody who waits, so that the pool's own thread does. */
EVERY_KIND(looking, in_maps_and_calls__finds_what_is_there)
{
    size_t n = ROUNDS(STORM / 5);
    mp_bytes *results = calloc(n, sizeof *results);
    mp__looking_times = eager[0];
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int sent = 0; sent < 2; sent++) {
        mp_async *call = sent ? mp_pool_map_async(pool, storm, NULL, n) : NULL;
        if (!sent)
            cr_assert(eq(int, mp_pool_map(pool, storm, NULL, n, results), MP_OK));
        else if (SOON(mp_async_ready(call)))
            cr_assert(eq(int, mp_async_get(call, results, 0), MP_OK));
        for (size_t i = 0; i < n; i++)
            cr_assert(is_of(&results[i], i), "item %zu", i);
        if (sent)
            mp_async_free(&call);
        else
            mp_free(mp_bytes, results, n);
    }
    mp_pool_free(&pool);
    free(results);
}

/* ---- deaths ---- */

typedef struct hunt {
    pid_t zygote;
    _Atomic bool over;
    _Atomic int killed;
} hunt;

/* Only those that have begun an item: many that die before are a reason to give the pool up. */
static void *kill_now_and_then(void *argument)
{
    hunt *me = argument;
    for (uint64_t i = 0; !me->over; i++) {
        pid_t worker = the_board()->word[mix(i) % 2];
        if (worker)
            me->killed += proc_signal_child(me->zygote, worker, SIGKILL);
        nap_us((long)(mix(~i) % 20000));
    }
    return NULL;
}

/* How many items were lost; of the others each is whole. None began twice; one that was killed just before it began is to blame as
 * well. */
static int read_while_hunted(mp_pool *pool, size_t n)
{
    int lost = 0;
    mp_bytes bytes;
    mp_iter *iter = mp_pool_imap(pool, storm, NULL, n);
    for (size_t i = 0, index; i < n; i++) {
        mp_status status = mp_iter_next(iter, &bytes, PROMPT, .index = &index);
        int times = the_board()->times[i];
        cr_assert(eq(sz, index, i));
        cr_assert(status == MP_OK || status == MP_ECRASHED, "item %zu: %s", i, mp_iter_error(iter)->message);
        cr_assert(status != MP_OK || is_of(&bytes, i), "item %zu", i);
        cr_assert(times == 1 || (status && !times), "item %zu: status %d, began %d times", i, status, times);
        lost += status != MP_OK;
        mp_free(mp_bytes, &bytes, 1);
    }
    mp_iter_free(&iter);
    board_clear(n);
    return lost;
}

/* Each death costs the item that ran at most, and nothing that was finished before it. */
EACH_PROCESS_KIND_HERE(looking, while_workers_are_killed__costs_no_finished_result)
{
    hunt me = {0};
    size_t n = few_lives(STORM / 4);
    int lost = 0;
    pthread_t hunter;
    mp__looking_times = eager[1];
    mp_pool *pool = OPEN_POOL(.processes = 2);
    me.zygote = proc_only_child();
    cr_assert(zero(int, pthread_create(&hunter, NULL, kill_now_and_then, &me)));
    do
        lost += read_while_hunted(pool, n);
    while (!me.killed);
    me.over = true;
    pthread_join(hunter, NULL);
    cr_assert(le(int, lost, me.killed));
    mp_pool_free(&pool);
}
