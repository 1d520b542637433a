/* Edges of the engine that a reading of it found: waits that nobody would have ended, and ends that others still waited for. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>
#include <signal.h>

TestSuite(review, .timeout = 60);

enum { N = 20, PATIENCE = 20 };

static mp_status square(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = *in * *in;
    return MP_OK;
}
MP_TASK(square, int64_t, int64_t);

/* On threads. */
static mp_status wait_at_gate(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    tally->begun++;
    while (!tally->gate)
        nap_us(500);
    return MP_OK;
}
MP_TASK(wait_at_gate, mp_none, mp_none);

/* The first life begins at once, others at the gate. */
static mp_status begin_late(const mp_none *in, mp_none *out, mp_call *call)
{
    return tally->word[0]++ ? wait_at_gate(in, out, call) : MP_OK;
}
MP_TASK(begin_late, mp_none, mp_none);

typedef struct counter {
    int64_t next, end;
    mp_pool *pool;
    mp_status joined;
} counter;

static bool count_on(int64_t *item, void *user)
{
    counter *c = user;
    if (c->next >= c->end)
        return false;
    *item = c->next++;
    tally->word[1]++;
    return true;
}

/* --- streams ------------------------------------------------------------------------------------------------------------- */

static void read_all(mp_iter *stream)
{
    int64_t value;
    for (int64_t i = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(stream, &value, PATIENCE), MP_OK));
        cr_assert(eq(i64, value, i * i));
    }
    cr_assert(eq(int, mp_iter_next(stream, &value, PATIENCE), MP_END));
    mp_iter_free(&stream);
}

static void read_dry(mp_kind kind)
{
    int64_t items[N];
    cr_assert(ledger_open(0));
    for (int64_t i = 0; i < N; i++)
        items[i] = i;
    MP_WITH_POOL (pool, .kind = kind, .processes = 2) {
        counter c = {.end = N};
        read_all(mp_pool_imap_from(pool, square, count_on, &c, .buffersize = 1));
        read_all(mp_pool_imap(pool, square, items, N, .buffersize = 1));
        read_all(mp_pool_imap(pool, square, items, N, .bufferbytes = 1));
    }
    ledger_close();
}

CHECK(review, stream__read_dry__goes_on__processes)
{
    read_dry(MP_PROCESSES);
}

CHECK(review, stream__read_dry__goes_on__threads)
{
    read_dry(MP_THREADS);
}

CHECK(review, progress__behind_the_end__is_not_written_again)
{
    int64_t items[N] = {0};
    char *text;
    size_t size;
    FILE *progress = open_memstream(&text, &size);
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 1) {
        mp_iter *stream = mp_pool_imap(pool, square, items, N, .progress = progress);
        while (mp_iter_next(stream, NULL, PATIENCE) != MP_END)
            ;
        fclose(progress);
        cr_assert(eq(int, mp_iter_next(stream, NULL, PATIENCE), MP_END));
        mp_iter_free(&stream);
    }
    cr_assert(size > 0 && strchr(text, '\n') == strrchr(text, '\n'));
    cr_assert(strstr(text, "20 items, 0 failed") != NULL);
    free(text);
}

static bool join_from_inside(int64_t *item, void *user)
{
    counter *c = user;
    (void)item;
    c->joined = mp_pool_join(c->pool);
    return false;
}

CHECK(review, join__from_a_generator__is_refused)
{
    counter c = {.joined = MP_OK};
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 1) {
        c.pool = pool;
        mp_iter *stream = mp_pool_imap_from(pool, square, join_from_inside, &c);
        cr_assert(eq(int, mp_pool_close(pool), MP_OK));
        cr_assert(eq(int, mp_iter_next(stream, NULL, PATIENCE), MP_END));
        mp_iter_free(&stream);
        cr_assert(eq(int, mp_pool_join(pool, PATIENCE), MP_OK));
    }
    cr_assert(eq(int, c.joined, MP_EDEADLK));
}

/* --- the pool's end ------------------------------------------------------------------------------------------------------ */

static void *join_for_ever(void *pool)
{
    return (void *)(uintptr_t)mp_pool_join((mp_pool *)pool);
}

/* A join that is under way is seen by what it does: the stream is asked without bound. */
CHECK(review, free__while_another_thread_joins__lets_it_return)
{
    for (int round = 0; round < 50; round++) {
        pthread_t joiner;
        void *joined;
        mp_pool *pool;
        counter c = {.end = INT64_MAX};
        cr_assert(ledger_open(0));
        cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_THREADS, .processes = 2), MP_OK));
        mp_iter *stream = mp_pool_imap_from(pool, square, count_on, &c, .buffersize = 1);
        mp_pool_close(pool);
        pthread_create(&joiner, NULL, join_for_ever, pool);
        cr_assert(UNTIL(PATIENCE, tally->word[1] > 3));
        mp_pool_free(&pool);
        pthread_join(joiner, &joined);
        cr_assert(eq(int, (int)(uintptr_t)joined, MP_OK));
        mp_iter_free(&stream);
        ledger_close();
    }
}

static void *map_once(void *argument)
{
    mp_pool *pool = argument;
    int64_t in = 3, out;
    mp_status status = mp_pool_map(pool, square, &in, 1, &out);
    tally->ended++;
    return (void *)(uintptr_t)status;
}

/* The only worker is being replaced and takes its time, so nothing happens that would wake who drives. */
CHECK(review, terminate__while_a_caller_drives__lets_it_return)
{
    pthread_t caller;
    void *mapped;
    mp_pool_stats stats;
    mp_pool *pool;
    int64_t in = 2, out;
    cr_assert(ledger_open(0));
    cr_assert(eq(int,
                 mp_pool_open(&pool, .kind = MP_THREADS, .processes = 1, .maxtasksperchild = 1,
                              .initializer = MP_HOOK(begin_late, NULL)),
                 MP_OK));
    cr_assert(eq(int, mp_pool_apply(pool, square, &in, &out), MP_OK));
    cr_assert(UNTIL(PATIENCE, tally->begun == 1));
    pthread_create(&caller, NULL, map_once, pool);
    cr_assert(UNTIL(PATIENCE, mp_pool_get_stats(pool, &stats) == MP_OK && stats.pending == 1));
    cr_assert(UNTIL(PATIENCE, stats.workers == 0 && mp_pool_get_stats(pool, &stats) == MP_OK));
    nap_us(20000); /* the worker that left has been taken note of: makes the test sharper, not right */
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    bool returned = UNTIL(PATIENCE, tally->ended == 1);
    tally->gate = 1;
    pthread_join(caller, &mapped);
    mp_pool_free(&pool);
    cr_assert(returned);
    cr_assert(eq(int, (int)(uintptr_t)mapped, MP_ETERMINATED));
    ledger_close();
}

/* --- broadcast ----------------------------------------------------------------------------------------------------------- */

static mp_status broadcast_inside(const mp_ptr *in, int32_t *out, mp_call *call)
{
    (void)call;
    int64_t item = 1, squares[3];
    *out = mp_pool_broadcast(in->address, square, &item, squares, 3);
    return MP_OK;
}
MP_TASK(broadcast_inside, mp_ptr, int32_t);

CHECK(review, broadcast__from_a_task_of_the_pool__is_refused)
{
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 3) {
        mp_ptr self = {.address = pool};
        int32_t status = MP_OK;
        cr_assert(eq(int, mp_pool_apply(pool, broadcast_inside, &self, &status), MP_OK));
        cr_assert(eq(int, status, MP_EDEADLK));
    }
}

CHECK(review, broadcast__to_a_closed_pool__says_which_item)
{
    int64_t item = 1, squares[3];
    mp_error errors[3];
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 3) {
        mp_pool_close(pool);
        cr_assert(eq(int, mp_pool_broadcast(pool, square, &item, squares, 3, .errors = errors), MP_ECLOSED));
        for (size_t i = 0; i < 3; i++)
            cr_assert(eq(sz, errors[i].item, i));
    }
}

/* --- async --------------------------------------------------------------------------------------------------------------- */

static mp_status length(const mp_str *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = (int64_t)in->size;
    return MP_OK;
}
MP_TASK(length, mp_str, int64_t);

CHECK(review, async__of_what_cannot_be_copied__says_which)
{
    const mp_str texts[3] = {{"a", 1}, {NULL, 5}, {"ccc", 3}};
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 1) {
        mp_async *handle = mp_pool_map_async(pool, length, texts, 3);
        cr_assert(eq(int, mp_async_get(handle, NULL, PATIENCE), MP_EINVAL));
        cr_assert(strstr(mp_async_error(handle)->message, "[1]") != NULL, "%s", mp_async_error(handle)->message);
        for (int i = 0; i < 3; i++)
            cr_assert(eq(int, mp_async_statuses(handle)[i], MP_EINVAL));
        mp_async_free(&handle);
    }
}

/* --- cancellation -------------------------------------------------------------------------------------------------------- */

static void read_to_end(mp_pool *pool, FILE *progress)
{
    int64_t value;
    counter c = {.end = 3};
    mp_iter *stream = mp_pool_imap_from(pool, square, count_on, &c, .progress = progress);
    tally->word[2] += mp_iter_fd(stream) >= 0;
    while (mp_iter_next(stream, &value, PATIENCE) == MP_OK)
        tally->word[2]++;
    mp_iter_free(&stream);
}

static void *cancelled_thread(void *argument)
{
    mp_pool *pool = argument;
    int64_t item = 5, value;
    FILE *progress = fopen("/dev/null", "w");
    setbuf(progress, NULL);
    pthread_cancel(pthread_self());
    mp_async *handle = mp_pool_apply_async(pool, square, &item);
    tally->word[2] += mp_async_fd(handle) >= 0;
    tally->word[2] += mp_async_get(handle, &value, PATIENCE) == MP_OK;
    mp_async_free(&handle);
    read_to_end(pool, progress);
    tally->word[3]++;
    fclose(progress); /* is one */
    return NULL;
}

CHECK(review, cancelled_thread__in_calls__is_not_cancelled_there)
{
    pthread_t thread;
    void *gave;
    cr_assert(ledger_open(0));
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = 2) {
        pthread_create(&thread, NULL, cancelled_thread, pool);
        pthread_join(thread, &gave);
        cr_assert(eq(int, tally->word[2], 6));
        cr_assert(eq(int, tally->word[3], 1));
    }
    ledger_close();
}

/* --- opening ------------------------------------------------------------------------------------------------------------- */

CHECK(review, open__while_an_initializer_takes_its_time__can_be_interrupted)
{
    int status;
    cr_assert(ledger_open(0));
    pid_t child = fork();
    if (child == 0) {
        mp_pool *pool;
        tally->word[0] = 1;
        signal(SIGTERM, SIG_DFL);
        _exit(mp_pool_open(&pool, .kind = MP_THREADS, .processes = 1, .initializer = MP_HOOK(begin_late, NULL)) == MP_OK);
    }
    cr_assert(UNTIL(PATIENCE, tally->begun == 1));
    kill(child, SIGTERM);
    bool ended = UNTIL(PATIENCE, waitpid(child, &status, WNOHANG) == child);
    if (!ended) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    cr_assert(ended);
    cr_assert(signaled(status, SIGTERM));
    ledger_close();
}
