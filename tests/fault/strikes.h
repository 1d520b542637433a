/* System calls that strike: a script in shared memory says which, counted over all processes of a pool; and the task, the maps
 * and the oracle with which test_system and test_deaths see what comes of it. */
#ifndef TESTS_FAULT_STRIKES_H
#define TESTS_FAULT_STRIKES_H
#include "pool/system.h"
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include <errno.h>
#include <millpond.h>
#include <stdio.h>

/* ---- which call fails ---- */

/* Shared with all processes. Call number `first` and the `count - 1` after it fail. */
typedef struct script {
    _Atomic int calls, first, count;
    _Atomic int failed;
    _Atomic int only; /* 0: calls of all processes count; 1: of ours; 2: of all others */
} script;
static script *plot;
static pid_t test_process;
static mp__system_calls real;

static bool strikes(void)
{
    bool ours = getpid() == test_process;
    if ((plot->only == 1 && !ours) || (plot->only == 2 && ours))
        return false;
    int call = plot->calls++;
    bool now = call >= plot->first && call - plot->first < plot->count;
    plot->failed += now;
    return now;
}

static void arm(int first, int count)
{
    plot->calls = plot->failed = 0;
    plot->first = first;
    plot->count = count;
}

static void disarm(void)
{
    plot->count = 0;
}

static void begin_faults(size_t items)
{
    test_process = getpid();
    real = mp__system;
    plot = shared_memory(sizeof *plot);
    cr_assert(ne(ptr, plot, NULL));
    cr_assert(ledger_open(items));
}

static void end_faults(void)
{
    mp__system = real;
    munmap(plot, sizeof *plot);
    ledger_close();
}

/* ---- the task, and what is true of every map ---- */

enum { N = 60, CHUNK = 10 };

typedef struct order {
    uint32_t size;
    bool crash;
    mp_bytes load;
} order;
MP_TYPE(order, size, crash, load);

static mp_status work(const order *in, mp_bytes *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    if (in->crash)
        raise(SIGKILL);
    unsigned char *bytes = mp_call_alloc(call, in->size + 1);
    if (!bytes)
        return mp_fail(call, MP_ENOMEM, "no memory for the result");
    memset(bytes, (int)(item + 1), in->size + 1);
    *out = (mp_bytes){bytes, in->size};
    ledger_end(item);
    return MP_OK;
}
MP_TASK(work, order, mp_bytes);

typedef struct trial {
    order items[N];
    mp_bytes results[N];
    mp_status statuses[N], status;
    mp_error errors[N], error;
} trial;

static void run_map(mp_pool *pool, trial *t)
{
    ledger_clear();
    spoil(t->results, sizeof t->results);
    spoil(t->statuses, sizeof t->statuses);
    t->status = mp_pool_map(pool, work, t->items, N, t->results, .chunksize = CHUNK, .statuses = t->statuses,
                            .errors = t->errors, .error = &t->error);
}

static bool whole(const mp_bytes *bytes, size_t size, int value)
{
    const unsigned char *b = bytes->data;
    return bytes->size == size && (size == 0 || (b[0] == value && !memcmp(b, b + 1, size - 1)));
}

/* Holds a map's outcome against what the tasks wrote down. How many items failed. */
static int expect_sound(trial *t, const char *when)
{
    int failed = 0;
    for (size_t i = 0; i < N; i++) {
        cr_assert(le(int, tally->lines[i].begun, 1), "%s: item %zu ran twice", when, i);
        if (t->statuses[i] == MP_OK) {
            cr_assert(eq(int, tally->lines[i].ended, 1), "%s: item %zu", when, i);
            cr_assert(whole(&t->results[i], t->items[i].size, (int)(i + 1)), "%s: item %zu", when, i);
            continue;
        }
        failed++;
        mp_status s = t->statuses[i];
        cr_assert(s == MP_ECRASHED || s == MP_ELOST || s == MP_EBROKEN || s == MP_ENOMEM, "%s: item %zu has %d: %s", when,
                  i, s, t->errors[i].message);
        cr_assert(eq(sz, t->errors[i].item, i), "%s", when);
        cr_assert(gt(sz, strlen(t->errors[i].message), 10), "%s: item %zu", when, i);
        if (s == MP_EBROKEN)
            cr_assert(zero(int, tally->lines[i].begun), "%s: item %zu ran, and is told not to have", when, i);
    }
    mp_free(mp_bytes, t->results, N);
    return failed;
}

static trial *make_trial(void)
{
    trial *t = calloc(1, sizeof *t);
    for (size_t i = 0; i < N; i++)
        t->items[i].size = (uint32_t)(i * 7 % 50);
    return t;
}

#endif
