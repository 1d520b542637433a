/* The scenes, and what must be true of each whatever fails in it: it ends; each item ends once, ran at most once, and says MP_OK
 * with its right result, or a status for a fault that the documentation has, with a text; and a fault of the kind that is to be
 * passed over (EINTR, a short read or write) is not noticed. That nothing is left behind is looked at by who plays them.
 *
 * A scene opens its pool in peace, but `open` itself, and arms the fault then: closing and freeing are under it as well. */
#include "tests/fault/scenes.h"
#include "tests/lib/kinds.h"
#include <errno.h>
#include <signal.h>

enum { ITEMS = 24, CRASHER = 1, LOSER, CALLED, CALLED_BACK, LARGE = 5 };

static const scene_case *now;

#define MUST(condition, ...)                                                                                               \
    do {                                                                                                                   \
        if (!(condition)) {                                                                                                \
            char must_text[900];                                                                                           \
            snprintf(must_text, sizeof must_text, " " __VA_ARGS__);                                                        \
            play_failed(#condition, must_text);                                                                            \
        }                                                                                                                  \
    } while (0)

static void play_failed(const char *what, const char *text)
{
    faults_disarm();
    cr_fatal("%s: %s:%s", now->when, what, text);
}

static void arm(void)
{
    faults_arm(now->call, now->side, now->os_error, now->first, now->count);
}

/* ---- tasks ---- */

/* It knows its item by the input. Of those that are told by the board one crashes and one fails. */
static mp_status scene_work(const int *in, int *out, mp_call *call)
{
    board *b = the_board();
    b->times[*in]++;
    if (b->word[CRASHER] == *in + 1)
        kill(getpid(), SIGKILL);
    if (b->word[LOSER] == *in + 1)
        return mp_fail(call, MP_EUSER, "item %d is to fail", *in);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(scene_work, int, int);

static mp_status scene_echo(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    the_board()->times[mp_call_item(call)]++;
    void *bytes = mp_call_alloc(call, in->size + 1);
    if (!bytes)
        return mp_fail(call, MP_ENOMEM, "no memory for the result");
    memcpy(bytes, in->data, in->size);
    *out = (mp_bytes){bytes, in->size};
    return MP_OK;
}
MP_TASK(scene_echo, mp_bytes, mp_bytes);

static mp_status scene_hook(const mp_bytes *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    return in->size == 3000 ? MP_OK : MP_EUSER;
}
MP_TASK(scene_hook, mp_bytes, mp_none);

/* ---- the oracle ---- */

/* A fault has shown: as what, and why, is said. */
static void must_be_told(mp_status status, const mp_error *error, const char *of)
{
    MUST(!now->unseen, "%s: status %d: %s", of, status, error->message);
    MUST(status == MP_ENOMEM || status == MP_ESYSTEM || status == MP_ECRASHED || status == MP_ELOST || status == MP_EBROKEN,
         "%s: status %d: %s", of, status, error->message);
    MUST(error->status == status, "%s: status %d: %s", of, status, error->message);
    MUST(strnlen(error->message, sizeof error->message) > 10, "%s: status %d: '%s'", of, status, error->message);
}

/* An item, by its number. `also`: another status that it may have. */
static void must_be_ended(int item, mp_status status, int result, const mp_error *error, mp_status also)
{
    board *b = the_board();
    char of[32];
    snprintf(of, sizeof of, "item %d", item);
    MUST(b->times[item] <= 1, "item %d ran %d times", item, b->times[item]);
    if (status == MP_OK) {
        MUST(b->times[item] == 1, "item %d is said to have run", item);
        MUST(result == item + 1, "item %d: %d", item, result);
        MUST(b->word[CRASHER] != item + 1 && b->word[LOSER] != item + 1, "item %d", item);
        return;
    }
    MUST(result == 0, "item %d: %d", item, result);
    MUST(error->status == status, "item %d: status %d, %d", item, status, error->status);
    if (status == MP_EUSER && b->word[LOSER] == item + 1)
        return;
    if (status == MP_ECRASHED && b->word[CRASHER] == item + 1)
        return;
    if (also && status == also)
        return;
    must_be_told(status, error, of);
    MUST(status != MP_EBROKEN || b->times[item] == 0, "item %d ran, and is told not to have", item);
}

/* A call as a whole: its own refusal has no item. True: it was refused, so nothing ran. */
static bool refused(mp_status status, const mp_error *error, const char *of)
{
    if (!status || error->item != MP_NO_ITEM)
        return false;
    must_be_told(status, error, of);
    return true;
}

static mp_pool *in_peace(mp_pool *pool)
{
    arm();
    return pool;
}
#define PEACEFUL_POOL(...) in_peace(OPEN_POOL(.processes = 2, ##__VA_ARGS__))
#define PEACEFUL_EXECUTOR(...)                                                                                             \
    __extension__({                                                                                                        \
        mp_executor *opened;                                                                                               \
        MUST(mp_executor_open(&opened, OPTIONS, .max_workers = 2, ##__VA_ARGS__) == MP_OK);                                \
        arm();                                                                                                             \
        opened;                                                                                                            \
    })

static int numbers[ITEMS], results[ITEMS];
static mp_status statuses[ITEMS];
static mp_error errors[ITEMS];

static void map_and_judge(mp_pool *pool)
{
    mp_error error;
    spoil(results, sizeof results);
    spoil(statuses, sizeof statuses);
    mp_status status = mp_pool_map(pool, scene_work, numbers, ITEMS, results, .chunksize = 4, .statuses = statuses,
                                   .errors = errors, .error = &error);
    mp_status first = MP_OK;
    if (refused(status, &error, "the map")) {
        for (int i = 0; i < ITEMS; i++)
            MUST(the_board()->times[i] == 0 && statuses[i] == status, "item %d: status %d", i, statuses[i]);
        return;
    }
    for (int i = 0; i < ITEMS; i++) {
        must_be_ended(i, statuses[i], results[i], &errors[i], MP_OK);
        first = first ? first : statuses[i];
    }
    MUST(status == first, "%d, %d", status, first);
}

/* Without ending anything by force, which takes a second where the order to do so is what fails. */
static void end_well(mp_pool **pool)
{
    MUST(mp_pool_close(*pool) == MP_OK);
    MUST(mp_pool_join(*pool) == MP_OK);
    mp_pool_free(pool);
}

/* ---- the scenes ---- */

void scene_open(void)
{
    static char bytes[3000];
    mp_bytes blob = {bytes, sizeof bytes};
    mp_pool *pool;
    mp_error error;
    spoil(&error, sizeof error);
    arm();
    mp_status status = mp_pool_open(&pool, OPTIONS, .processes = 2, .initializer = MP_HOOK(scene_hook, &blob),
                                    .finalizer = MP_HOOK(scene_hook, &blob), .error = &error);
    if (status) {
        must_be_told(status, &error, "opening");
        MUST(!pool);
        MUST(error.item == MP_NO_ITEM);
        MUST(status != MP_ESYSTEM || error.os_error != 0, "%s", error.message);
        return;
    }
    map_and_judge(pool);
    end_well(&pool);
}

void scene_map(void)
{
    mp_pool_stats stats;
    mp_pool *pool = PEACEFUL_POOL();
    map_and_judge(pool);
    MUST(mp_pool_get_stats(pool, &stats) == MP_OK);
    MUST(stats.accepted == stats.succeeded + stats.failed && stats.pending == 0);
    mp_pool_free(&pool);
}

void scene_map_large(void)
{
    static const size_t sizes[LARGE] = {200000, 100, 70000, 1500000, 300000};
    static char bytes[1500000];
    mp_bytes in[LARGE], out[LARGE];
    mp_error error;
    for (int i = 0; i < LARGE; i++)
        in[i] = (mp_bytes){bytes, sizes[i]};
    memset(bytes, 7, sizeof bytes);
    mp_pool *pool = PEACEFUL_POOL();
    mp_status status = mp_pool_map(pool, scene_echo, in, LARGE, out, .chunksize = 1, .statuses = statuses, .errors = errors,
                                   .error = &error);
    bool none = refused(status, &error, "the map");
    for (int i = 0; !none && i < LARGE; i++) {
        bool right = out[i].size == sizes[i] && !memcmp(out[i].data, bytes, sizes[i]);
        must_be_ended(i, statuses[i], statuses[i] ? (int)out[i].size : right ? i + 1 : -1, &errors[i], MP_OK);
    }
    if (!none)
        mp_free(mp_bytes, out, LARGE);
    end_well(&pool);
}

void scene_failing_items(void)
{
    the_board()->word[LOSER] = 8;
    mp_pool *pool = PEACEFUL_POOL();
    map_and_judge(pool);
    end_well(&pool);
}

void scene_apply(void)
{
    int in = 3, out;
    mp_error error;
    mp_pool *pool = PEACEFUL_POOL();
    for (int round = 0; round < 2; round++) {
        the_board()->times[in] = 0;
        mp_status status = mp_pool_apply(pool, scene_work, &in, &out, .error = &error);
        if (!refused(status, &error, "apply"))
            must_be_ended(in, status, out, &error, MP_OK);
    }
    end_well(&pool);
}

static void called(const int *out, void *user)
{
    (void)out, (void)user;
    the_board()->word[CALLED]++;
}
static void called_for_an_error(const mp_error *error, void *user)
{
    (void)user;
    MUST(error->status != MP_OK);
    the_board()->word[CALLED_BACK]++;
}

void scene_apply_async(void)
{
    int in = 3, out;
    mp_pool *pool = PEACEFUL_POOL();
    mp_async *async = mp_pool_apply_async(pool, scene_work, &in, .callback = called, .error_callback = called_for_an_error);
    int fd = mp_async_fd(async);
    MUST(fd >= 0 || !now->unseen);
    mp_status status = mp_async_get(async, &out, MP_FOREVER);
    const mp_error *error = mp_async_error(async);
    board *b = the_board();
    if (refused(status, error, "apply_async")) {
        MUST(!b->word[CALLED] && b->word[CALLED_BACK] <= 1);
    } else {
        must_be_ended(in, status, out, error, MP_OK);
        MUST(b->word[CALLED] == (status == MP_OK) && b->word[CALLED_BACK] == (status != MP_OK));
    }
    mp_async_free(&async);
    end_well(&pool);
}

void scene_map_async_cancel(void)
{
    int got[ITEMS] = {0};
    mp_pool *pool = PEACEFUL_POOL();
    mp_async *async = mp_pool_map_async(pool, hold_or_see, numbers, ITEMS, .chunksize = 3);
    MUST(SOON(the_board()->begun > 0 || mp_async_ready(async)));
    mp_status cancelled = mp_async_cancel(async), status;
    MUST(cancelled == MP_OK || mp_async_error(async)->status, "status %d", cancelled);
    the_board()->gate = 1;
    status = mp_async_get(async, got, MP_FOREVER);
    const mp_status *each = mp_async_statuses(async);
    if (!refused(status, mp_async_error(async), "map_async"))
        for (int i = 0; i < ITEMS; i++) {
            mp_error error = {.status = each[i], .message = "told by its handle"};
            int result = got[i] == -1 ? i + 1 : got[i]; /* it has seen it */
            must_be_ended(i, each[i], status ? each[i] ? 0 : i + 1 : result, &error, MP_ECANCELLED);
        }
    mp_async_free(&async);
    end_well(&pool);
}

/* Reads to the end: each item once; in order, if so. What is not an item's failure is the input's, once, and the last. */
static void read_and_judge(mp_iter *iter, bool ordered)
{
    bool seen[ITEMS] = {false};
    size_t count = 0, index;
    mp_error error;
    int out;
    for (mp_status status; (status = mp_iter_next(iter, &out, MP_FOREVER, .index = &index, .error = &error)) != MP_END;) {
        if (index == SIZE_MAX) {
            must_be_told(status, &error, "the input");
            MUST(mp_iter_next(iter, &out, MP_FOREVER) == MP_END);
            count = ITEMS;
            break;
        }
        MUST(index < ITEMS && !seen[index], "item %zu", index);
        MUST(!ordered || index == count, "item %zu after %zu", index, count);
        seen[index] = true;
        count++;
        must_be_ended((int)index, status, out, &error, MP_OK);
    }
    MUST(count == ITEMS, "%zu items", count);
    mp_iter_free(&iter);
}

static bool next_number(int *item, void *user)
{
    int *at = user;
    *item = *at;
    return (*at)++ < ITEMS;
}

#define STREAM_SCENE(name, ordered, ...)                                                                                   \
    void scene_##name(void)                                                                                                \
    {                                                                                                                      \
        int at = 0;                                                                                                        \
        mp_pool *pool = PEACEFUL_POOL();                                                                                   \
        mp_iter *iter = mp_pool_##name(pool, scene_work, __VA_ARGS__, .chunksize = 2, .buffersize = 8);                    \
        (void)at;                                                                                                          \
        (void)mp_iter_fd(iter);                                                                                            \
        read_and_judge(iter, ordered);                                                                                     \
        end_well(&pool);                                                                                                   \
    }
STREAM_SCENE(imap, true, numbers, ITEMS)
STREAM_SCENE(imap_unordered, false, numbers, ITEMS)
STREAM_SCENE(imap_from, true, next_number, &at)
STREAM_SCENE(imap_unordered_from, false, next_number, &at)

void scene_executor_map(void)
{
    mp_executor *executor = PEACEFUL_EXECUTOR();
    read_and_judge(mp_executor_map(executor, scene_work, numbers, ITEMS), true);
    mp_executor_free(&executor);
}

/* ---- futures ---- */

static mp_future *futures[ITEMS];

static void done(mp_future *future, void *user)
{
    MUST(mp_future_done(future));
    (*(_Atomic int *)user)++;
}

static void submit_all(mp_executor *executor)
{
    for (int i = 0; i < ITEMS; i++)
        futures[i] = mp_submit(executor, scene_work, &numbers[i]);
}

static void judge_future(int i)
{
    int out = 0;
    mp_status status = mp_future_result(futures[i], &out, MP_FOREVER);
    must_be_ended(i, status, out, mp_future_exception(futures[i], MP_FOREVER), MP_OK);
}

static void end_futures(mp_executor **executor)
{
    for (int i = 0; i < ITEMS; i++)
        judge_future(i);
    mp_executor_free(executor);
    for (int i = 0; i < ITEMS; i++)
        mp_future_free(&futures[i]);
}

void scene_submit(void)
{
    _Atomic int *calls = &the_board()->word[CALLED];
    int promised = 0;
    mp_executor *executor = PEACEFUL_EXECUTOR(.max_queue = 10);
    submit_all(executor);
    for (int i = 0; i < ITEMS; i++) {
        mp_status status = mp_future_add_done_callback(futures[i], done, (void *)(uintptr_t)calls);
        MUST(status == MP_OK || (!now->unseen && (status == MP_ENOMEM || status == MP_ESYSTEM)), "status %d", status);
        promised += status == MP_OK;
    }
    end_futures(&executor);
    MUST(*calls == promised, "%d callbacks of %d", *calls, promised);
}

void scene_wait(void)
{
    mp_executor *executor = PEACEFUL_EXECUTOR();
    submit_all(executor);
    mp_wait_result first = mp_wait(futures, ITEMS, MP_FIRST_COMPLETED, MP_FOREVER);
    MUST(first.status == MP_ENOMEM ? !now->unseen : first.status == MP_OK && first.done > 0, "status %d", first.status);
    mp_wait_result all = mp_wait(futures, ITEMS, MP_ALL_COMPLETED, MP_FOREVER);
    MUST(all.status == MP_ENOMEM ? !now->unseen : all.status == MP_OK && all.not_done == 0, "status %d", all.status);
    end_futures(&executor);
}

/* Those for which there was no memory are one and the same. */
static int different_futures(void)
{
    int count = 0;
    for (int i = 0; i < ITEMS; i++) {
        int first = 0;
        while (futures[first] != futures[i])
            first++;
        count += first == i;
    }
    return count;
}

void scene_as_completed(void)
{
    mp_executor *executor = PEACEFUL_EXECUTOR();
    mp_status status;
    mp_future *one;
    int count = 0;
    submit_all(executor);
    mp_as_completed *each = mp_as_completed_new(futures, ITEMS, MP_FOREVER);
    MUST(mp_as_completed_fd(each) >= 0 || !now->unseen);
    for (; (status = mp_as_completed_next(each, &one)) == MP_OK; count++)
        MUST(mp_future_done(one));
    MUST(status == MP_ENOMEM ? !now->unseen : status == MP_END && count == different_futures(), "status %d, %d of them",
         status, count);
    mp_as_completed_free(&each);
    end_futures(&executor);
}

void scene_then(void)
{
    mp_future *second[ITEMS];
    mp_executor *executor = PEACEFUL_EXECUTOR();
    for (int i = 0; i < ITEMS / 2; i++) {
        mp_future *first = mp_submit(executor, scene_work, &numbers[2 * i]);
        second[i] = mp_future_then(first, executor, scene_work);
        mp_future_free(&first);
    }
    for (int i = 0; i < ITEMS / 2; i++) {
        int out = 0;
        mp_status status = mp_future_result(second[i], &out, MP_FOREVER);
        const mp_error *error = mp_future_exception(second[i], MP_FOREVER);
        if (status == MP_OK)
            MUST(the_board()->times[2 * i] == 1);
        else
            must_be_told(status, error, "then");
        MUST(out == (status ? 0 : 2 * i + 2), "%d", out);
        MUST(the_board()->times[2 * i] <= 1 && the_board()->times[2 * i + 1] <= 1);
    }
    mp_executor_free(&executor);
    for (int i = 0; i < ITEMS / 2; i++)
        mp_future_free(&second[i]);
}

/* ---- workers that come and go ---- */

/* Each worker's part is item 0 of its own. */
void scene_broadcast(void)
{
    int in = 5, out[2], succeeded = 0;
    mp_error error;
    mp_pool *pool = PEACEFUL_POOL();
    mp_status status =
        mp_pool_broadcast(pool, count_one, &in, out, 2, .statuses = statuses, .errors = errors, .error = &error);
    bool none = refused(status, &error, "broadcast");
    for (int i = 0; !none && i < 2; i++) {
        if (statuses[i])
            must_be_told(statuses[i], &errors[i], "a worker's part");
        MUST(out[i] == (statuses[i] ? 0 : 6), "worker %d: %d", i, out[i]);
        succeeded += !statuses[i];
    }
    MUST(the_board()->begun <= (none ? 0 : 2) && the_board()->ended >= succeeded);
    end_well(&pool);
}

static void resize_and_judge(mp_pool *pool, int workers)
{
    mp_status status = mp_pool_resize(pool, workers);
    MUST(status == MP_OK || (!now->unseen && (status == MP_ENOMEM || status == MP_ESYSTEM || status == MP_EBROKEN)),
         "status %d", status);
}

void scene_resize(void)
{
    mp_pool *pool = PEACEFUL_POOL();
    resize_and_judge(pool, 5);
    map_and_judge(pool);
    resize_and_judge(pool, 1);
    board_clear(ITEMS);
    map_and_judge(pool);
    end_well(&pool);
}

void scene_terminate(void)
{
    mp_pool *pool = PEACEFUL_POOL();
    mp_async *async = mp_pool_map_async(pool, hold_or_see, numbers, ITEMS, .chunksize = 3);
    MUST(SOON(the_board()->begun > 0 || mp_async_ready(async)));
    MUST(mp_pool_terminate(pool) == MP_OK);
    mp_status status = mp_async_get(async, results, MP_FOREVER);
    const mp_status *each = mp_async_statuses(async);
    if (!refused(status, mp_async_error(async), "map_async"))
        for (int i = 0; i < ITEMS; i++) {
            mp_error error = {.status = each[i], .message = "told by its handle"};
            must_be_ended(i, each[i], each[i] ? 0 : i + 1, &error, MP_ETERMINATED);
        }
    MUST(mp_pool_join(pool) == MP_OK);
    mp_async_free(&async);
    mp_pool_free(&pool);
}

void scene_crash(void)
{
    the_board()->word[CRASHER] = 11;
    mp_pool *pool = PEACEFUL_POOL();
    map_and_judge(pool);
    the_board()->word[CRASHER] = 0;
    board_clear(ITEMS);
    map_and_judge(pool);
    end_well(&pool);
}

void scene_recycle(void)
{
    static char bytes[3000];
    mp_bytes blob = {bytes, sizeof bytes};
    mp_pool *pool = PEACEFUL_POOL(.maxtasksperchild = 5, .initializer = MP_HOOK(scene_hook, &blob),
                                  .finalizer = MP_HOOK(scene_hook, &blob));
    map_and_judge(pool);
    end_well(&pool);
}

/* ---- playing ---- */

int scene_run(scene_play *play, const scene_case *how_to)
{
    static const pool_kind kinds[] = {
        [ON_FORK] = {"fork", MP_PROCESSES, MP_FORK},
        [ON_SPAWN] = {"spawn", MP_PROCESSES, MP_SPAWN},
        [ON_FORKSERVER] = {"forkserver", MP_PROCESSES, MP_FORKSERVER},
        [ON_THREADS] = {"threads", MP_THREADS, MP_DEFAULT_START},
        [ON_SERIAL] = {"serial", MP_SERIAL, MP_DEFAULT_START},
    };
    board *b = the_board();
    now = how_to;
    how = kinds[how_to->kind];
    board_clear(ITEMS);
    b->gate = 0;
    for (int i = 0; i < 16; i++)
        b->word[i] = 0;
    play();
    return faults_disarm();
}

void scenes_begin(void)
{
    board_open();
    faults_begin();
    fill(numbers, ITEMS);
}

void scenes_end(void)
{
    faults_end();
    board_close();
}
