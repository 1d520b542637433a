/* What each worker runs before its first item and after its last. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/mapping.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <millpond.h>

TestSuite(hooks, .timeout = 60);

enum { PROMPT = 20, N = 40, LARGE = 3 << 20 };

/* What an initializer does, beside writing down that it ran. */
typedef enum conduct { PREPARE, FAIL, CRASH, EXIT } conduct;

typedef struct order {
    int32_t conduct;
    mp_str name;
    mp_bytes load;
} order;
MP_TYPE(order, conduct, name, load);

typedef struct state {
    size_t load;
    int items;
    char name[32];
} state;

/* word[0]: how many ran; word[1]: how many were asked for an item; word[2]: cancelled ones. */
static mp_status prepare(const order *in, mp_none *out, mp_call *call)
{
    (void)out;
    tally->word[0]++;
    tally->word[1] += mp_call_item(call) != MP_NO_ITEM;
    tally->word[2] += mp_call_cancelled(call);
    switch ((conduct)in->conduct) {
    case PREPARE: break;
    case FAIL: return mp_fail(call, (mp_status)(MP_EUSER + 4), "there is no model '%s'", in->name.data);
    case CRASH: raise(SIGSEGV); break;
    case EXIT: exit(3);
    }
    state *made = calloc(1, sizeof *made);
    made->load = in->load.size;
    snprintf(made->name, sizeof made->name, "%s", in->name.data);
    mp_call_set_state(call, made);
    return MP_OK;
}
MP_TASK(prepare, order, mp_none);

/* word[3]: how many ran, and found what their worker had left; word[4]: items counted there. */
static mp_status put_away(const order *in, mp_none *out, mp_call *call)
{
    (void)out;
    state *made = mp_call_state(call);
    tally->word[3] += in->load.size == LARGE && mp_call_item(call) == MP_NO_ITEM;
    tally->word[4] += made ? made->items : 0;
    free(made);
    if (in->conduct == CRASH)
        raise(SIGSEGV);
    return in->conduct == FAIL ? mp_fail(call, MP_EFAILED, "nobody hears this") : MP_OK;
}
MP_TASK(put_away, order, mp_none);

static mp_status look(const int *in, int64_t *out, mp_call *call)
{
    state *made = mp_call_state(call);
    if (!made || strcmp(made->name, "café") != 0)
        return mp_fail(call, MP_EFAILED, "the worker was not prepared");
    if (*in < 0)
        raise(SIGKILL);
    made->items++;
    *out = (int64_t)made->load + *in;
    return MP_OK;
}
MP_TASK(look, int, int64_t);

static order ordinary = {.conduct = PREPARE, .name = {"café", 5}};

static order with_load(conduct how)
{
    static char bytes[LARGE];
    memset(bytes, 7, sizeof bytes);
    return (order){.conduct = (int32_t)how, .name = ordinary.name, .load = {bytes, sizeof bytes}};
}

static int map_looks(mp_pool *pool, int bad, int64_t load)
{
    int items[N], right = 0;
    int64_t results[N];
    mp_error error;
    for (int i = 0; i < N; i++)
        items[i] = i == bad ? -1 : i;
    mp_status status = mp_pool_map(pool, look, items, N, results, .chunksize = 1, .error = &error);
    cr_assert(eq(int, status, bad < 0 ? MP_OK : MP_ECRASHED), "%s", error.message);
    for (int i = 0; i < N; i++)
        right += results[i] == load + i;
    return right;
}

CHECK_METHODS(hooks, initializer__prepares_each_worker_and_its_replacement)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(ledger_open(1));
    order prepared = with_load(PREPARE);
    mp_status status = mp_pool_open(&pool, .processes = 3, .start_method = method,
                                    .initializer = MP_HOOK(prepare, &prepared), .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    cr_assert(eq(int, tally->word[0], 3), "they had been run when the pool was open");
    cr_assert(eq(int, map_looks(pool, -1, LARGE), N));
    cr_assert(eq(int, map_looks(pool, 5, LARGE), N - 1));
    cr_assert(eq(int, map_looks(pool, -1, LARGE), N));
    cr_assert(UNTIL(PROMPT, tally->word[0] == 4));
    cr_assert(zero(int, tally->word[1]));
    cr_assert(zero(int, tally->word[2]));
    mp_pool_free(&pool);
    ledger_close();
}

CHECK_METHODS(hooks, finalizer__runs_in_each_worker_that_leaves_in_good_order)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(ledger_open(1));
    order last = with_load(PREPARE);
    mp_status status =
        mp_pool_open(&pool, .processes = 3, .start_method = method, .initializer = MP_HOOK(prepare, &ordinary),
                     .finalizer = MP_HOOK(put_away, &last), .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    cr_assert(eq(int, map_looks(pool, -1, 0), N));
    cr_assert(zero(int, tally->word[3]));
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(eq(int, tally->word[3], 3));
    cr_assert(eq(int, tally->word[4], N));
    mp_pool_free(&pool);
    ledger_close();
}

CHECK_METHODS(hooks, finalizer_fails_or_crashes__is_nobodys_concern)
{
    for (conduct how = FAIL; how <= CRASH; how++) {
        mp_pool *pool;
        mp_pool_stats stats;
        cr_assert(ledger_open(1));
        order last = with_load(how);
        cr_assert(eq(int,
                     mp_pool_open(&pool, .processes = 2, .start_method = method, .initializer = MP_HOOK(prepare, &ordinary),
                                  .finalizer = MP_HOOK(put_away, &last)),
                     MP_OK));
        cr_assert(eq(int, map_looks(pool, -1, 0), N));
        mp_pool_close(pool);
        cr_assert(eq(int, mp_pool_join(pool), MP_OK));
        cr_assert(eq(int, tally->word[3], 2));
        mp_pool_get_stats(pool, &stats);
        cr_assert(zero(u64, stats.failed));
        mp_pool_free(&pool);
        ledger_close();
    }
}

static void expect_no_pool(mp_start_method method, const order *in, mp_status wanted, const char *text)
{
    mp_pool *pool = (mp_pool *)&pool;
    mp_error error;
    spoil(&error, sizeof error);
    mp_status status = mp_pool_open(&pool, .processes = 2, .start_method = method, .initializer = MP_HOOK(prepare, in),
                                    .finalizer = MP_HOOK(put_away, &ordinary), .error = &error);
    cr_assert(eq(int, status, wanted), "%d: %s", status, error.message);
    cr_assert(zero(ptr, pool));
    cr_assert(says(&error, text), "%s", error.message);
}

CHECK_METHODS(hooks, initializer_fails__opening_fails_with_its_status_and_words)
{
    cr_assert(ledger_open(1));
    order in = {.conduct = FAIL, .name = ordinary.name};
    expect_no_pool(method, &in, (mp_status)(MP_EUSER + 4), "the initializer failed: there is no model 'café'");
    cr_assert(zero(int, tally->word[3]), "a finalizer ran where the initializer had failed");
    ledger_close();
}

CHECK_METHODS(hooks, initializer_crashes__opening_fails_and_says_where)
{
    cr_assert(ledger_open(1));
    order in = {.conduct = CRASH, .name = ordinary.name};
    expect_no_pool(method, &in, MP_EBROKEN, "killed by SIGSEGV (Segmentation fault) in its initializer");
    in.conduct = EXIT;
    expect_no_pool(method, &in, MP_EBROKEN, "exited with code 3 in its initializer");
    ledger_close();
}

CHECK_METHODS(hooks, input_cannot_be_sent__opening_fails_and_says_why)
{
    cr_assert(ledger_open(1));
    order in = {.conduct = PREPARE, .name = {"\xff", 1}};
    expect_no_pool(method, &in, MP_EENCODING, "the input of the initializer cannot be sent: field 'name'");
    cr_assert(zero(int, tally->word[0]));
    ledger_close();
}

/* Initializers that succeed while the pool opens and fail in every replacement. */
static mp_status prepare_twice(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    return tally->word[0]++ < 2 ? MP_OK : mp_fail(call, MP_ERANGE, "two are enough");
}
MP_TASK(prepare_twice, mp_none, mp_none);

static mp_status crash(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    raise(SIGKILL);
    return MP_OK;
}
MP_TASK(crash, int, int);

CHECK_METHODS(hooks, initializer_fails_in_every_replacement__pool_is_broken_and_says_why)
{
    mp_pool *pool;
    mp_error errors[3];
    mp_status statuses[3];
    int items[3] = {0}, results[3];
    cr_assert(ledger_open(1));
    cr_assert(eq(int,
                 mp_pool_open(&pool, .processes = 2, .start_method = method, .initializer = MP_HOOK(prepare_twice, NULL)),
                 MP_OK));
    cr_assert(ne(int, mp_pool_map(pool, crash, items, 3, results, .chunksize = 1, .errors = errors, .statuses = statuses),
                 MP_OK));
    cr_assert(eq(int, statuses[2], MP_EBROKEN), "%d: %s", statuses[2], errors[2].message);
    cr_assert(says(&errors[2], "the initializer failed: two are enough"), "%s", errors[2].message);
    cr_assert(ge(int, tally->word[0], 8));
    mp_pool_free(&pool);
    ledger_close();
}

/* It is ended as it waits for what never comes, and nothing is left of it. */
static mp_status prepare_for_ever(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    if (tally->word[0]++)
        for (;;)
            pause();
    return MP_OK;
}
MP_TASK(prepare_for_ever, mp_none, mp_none);

CHECK_METHODS(hooks, initializer_of_a_replacement_hangs__terminate_ends_it)
{
    mp_pool *pool;
    int item = 0, result;
    cr_assert(ledger_open(1));
    cr_assert(
        eq(int, mp_pool_open(&pool, .processes = 1, .start_method = method, .initializer = MP_HOOK(prepare_for_ever, NULL)),
           MP_OK));
    cr_assert(eq(int, mp_pool_map(pool, crash, &item, 1, &result), MP_ECRASHED));
    cr_assert(UNTIL(PROMPT, tally->word[0] == 2));
    mp_pool_free(&pool);
    ledger_close();
}
