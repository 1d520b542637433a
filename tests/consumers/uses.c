/* Every macro, used rightly, by a file that registers the tasks (-DTASKS) and by one that has only their declarations. Compiled,
 * never run. */
#include <uses.h>

#ifdef TASKS
static mp_status load(const setting *in, mp_none *out, mp_call *call)
{
    (void)out;
    mp_call_set_state(call, mp_call_alloc(call, in->path.size));
    return MP_OK;
}
MP_TASK(load, setting, mp_none);

static mp_status integrate(const range *in, double *out, mp_call *call)
{
    if (mp_call_cancelled(call))
        return mp_fail(call, MP_ECANCELLED, "item %zu of worker %s is not wanted any more", mp_call_item(call),
                       mp_call_worker_name(call));
    *out = in->to - in->from;
    return MP_OK;
}
MP_TASK(integrate, range, double);

static mp_status spread(const mp_span_range *in, mp_span_double *out, mp_call *call)
{
    *out = (mp_span_double){mp_call_alloc(call, in->count * sizeof *out->items), in->count};
    return out->items ? MP_OK : MP_ENOMEM;
}
MP_TASK(spread, mp_span_range, mp_span_double);

static mp_status poke(const mp_ptr *in, mp_ptr *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(poke, mp_ptr, mp_ptr);

static mp_status tick(const mp_none *in, bool *out, mp_call *call)
{
    (void)in;
    *out = mp_call_state(call) && mp_call_worker(call) == 0;
    return MP_OK;
}
MP_TASK(tick, mp_none, bool);

double length_of(double from, double to)
{
    return to - from;
}
MP_FUNCTION_DEFINE(double, length_of, (double, from), (double, to));

void forget(int32_t what)
{
    (void)what;
}
MP_FUNCTION_DEFINE(void, forget, (int32_t, what));

int32_t next_number(void)
{
    return 4;
}
MP_FUNCTION0(int32_t, next_number);
#endif

typedef struct {
    int64_t at, end;
} counter;

static bool next_range(range *item, void *user)
{
    counter *count = user;
    *item = (range){(double)count->at, (double)count->end};
    return count->at++ < count->end;
}

static mp_status next_or_fail(range *item, void *user, mp_error *error)
{
    if (!user)
        return mp_error_set(error, MP_EUSER, "there are %d", 0);
    *item = (range){0, 1};
    return MP_END;
}

static void on_length(const double *length, void *user)
{
    *(double *)user += *length;
}

static void on_lengths(const double *lengths, size_t n, void *user)
{
    for (size_t i = 0; i < n; i++)
        *(double *)user += lengths[i];
}

static void on_nothing(const mp_none *nothing, void *user)
{
    (void)nothing, (void)user;
}

static void on_error(const mp_error *error, void *user)
{
    (void)user;
    mp_perror(error);
}

static mp_status use_async(mp_pool *pool, const range *ranges, mp_ptr address)
{
    double sum = 0, one, many[3];
    mp_span_double spans[1];
    mp_async *first = mp_pool_apply_async(pool, integrate, (&(range){.from = 1, .to = 2}), .callback = on_length,
                                          .error_callback = on_error, .user = &sum);
    mp_async *second = mp_pool_map_async(pool, length_of, (const length_of_args *)NULL, 0, .callback = on_lengths);
    mp_async *third =
        mp_pool_starmap_async(pool, integrate, ranges, 3, .chunksize = 2, .callback = on_lengths, .user = &sum);
    mp_async *fourth = mp_pool_apply_async(pool, spread, (&(mp_span_range){NULL, 0}));
    mp_async *fifth = mp_pool_apply_async(pool, load, (&(setting){mp_str_of("file"), 3}), .callback = on_nothing);
    mp_async *sixth = mp_pool_apply_async(pool, tick, NULL);
    mp_async *seventh = mp_pool_apply_async(pool, poke, &address, .error_callback = on_error);
    mp_pool_apply_async(pool, forget, (&(forget_args){3}));
    mp_status status = mp_async_get(first, &one, 5.0);
    if (status == MP_OK && mp_async_wait(second, MP_FOREVER) == MP_OK && mp_async_successful(third))
        status = mp_async_get(third, many, MP_FOREVER);
    status = status ? status : mp_async_get(fourth, spans, 0);
    status = status ? status : mp_async_get(fifth, NULL, 0);
    status = status ? status : mp_async_get(sixth, &(bool){false}, 0);
    mp_async_get(seventh, (void *)&address, 0.5);
    mp_free(mp_span_double, spans, 1);
    mp_async *all[] = {first, second, third, fourth, fifth, sixth, seventh};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!mp_async_ready(all[i]) && mp_async_fd(all[i]) >= 0)
            (void)mp_async_cancel(all[i]);
        mp_async_free(&all[i]);
    }
    return status;
}

static mp_status use_streams(mp_pool *pool, const range *ranges)
{
    counter count = {0, 10};
    double length;
    size_t index;
    mp_error error;
    mp_status status;
    mp_iter *streams[] = {
        mp_pool_imap(pool, integrate, ranges, 3),
        mp_pool_imap_unordered(pool, integrate, ranges, 3, .chunksize = 1, .buffersize = 10),
        mp_pool_imap_from(pool, integrate, next_range, &count, .bufferbytes = 1 << 20),
        mp_pool_imap_unordered_from(pool, integrate, next_or_fail, NULL, .progress = stderr),
        mp_pool_imap_from(pool, integrate, &next_range, &count),
    };
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        while ((status = mp_iter_next(streams[i], &length, MP_FOREVER, .index = &index, .error = &error)) == MP_OK)
            continue;
        if (status != MP_END)
            mp_perror(mp_iter_error(streams[i]));
        (void)mp_iter_next(streams[i], NULL, 0);
        mp_iter_free(&streams[i]);
    }
    return MP_OK;
}

static mp_status use_maps(mp_pool *pool, const range *ranges)
{
    double lengths[3];
    mp_status statuses[3];
    mp_error errors[3];
    mp_pool_stats stats;
    bool ticked[2];
    mp_status status = mp_pool_map(pool, integrate, ranges, 3, lengths, .statuses = statuses, .errors = errors);
    status = status ? status : mp_pool_starmap(pool, length_of, (&(length_of_args){1, 2}), 1, lengths);
    status = status ? status : mp_pool_apply(pool, forget, (&(forget_args){1}), NULL);
    status = status ? status : mp_pool_apply(pool, next_number, NULL, &(int32_t){0});
    status = status ? status : mp_pool_broadcast(pool, tick, NULL, ticked, 2, .error = &errors[0]);
    status = status ? status : mp_pool_get_stats(pool, &stats);
    return status ? status : mp_pool_resize(pool, 3);
}

static mp_status use_shutdown(mp_executor *executor, bool waits)
{
    mp_status status = mp_executor_shutdown(executor, .wait = false);
    status = status ? status : mp_executor_shutdown(executor, .cancel_futures = waits ? true : false);
    status = status ? status : mp_executor_shutdown(executor, .cancel_futures = true, .wait = waits);
    status = status ? status : mp_executor_shutdown(executor, waits, false);
    mp_executor_shutdown(executor);
    return status;
}

int main(int argc, char **argv)
{
    static const range ranges[3];
    const setting given = {.limit = 3};
    mp_error error = {0};
    mp_pool *pool;
    mp_main(argc, argv);
    if (mp_pool_open(&pool, .processes = 2, .start_method = MP_SPAWN, .initializer = MP_HOOK(load, &given),
                     .finalizer = MP_HOOK(load, &(setting){mp_str_of("end"), 1}), .thread_name_prefix = "name",
                     .maxtasksperchild = 100, .error = &error) != MP_OK)
        return mp_perror(&error), 1;
    mp_pool_close(pool);
    if (mp_pool_join(pool, 0.5) == MP_ETIMEDOUT)
        mp_pool_join(pool);
    mp_pool_free(&pool);
    MP_WITH_POOL (threads, .kind = MP_THREADS, .processes = 8, .error = &error) {
        MP_WITH_POOL (inner) {
            if (use_maps(inner, ranges) != MP_OK || use_async(inner, ranges, (mp_ptr){argv}) != MP_OK)
                break;
        }
        mp_pool_apply(threads, poke, (&(mp_ptr){&error}), &(mp_ptr){0});
        if (use_streams(threads, ranges) != MP_OK)
            mp_pool_terminate(threads);
    }
    MP_WITH_EXECUTOR (executor, .max_workers = 2)
        return use_shutdown(executor, true) != MP_OK;
    return 0;
}
