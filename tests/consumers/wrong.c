/* CASE 0 is right; every other CASE is a mistake that the compiler must see. */
#include <millpond.h>

typedef struct {
    double x, y;
} point;
MP_TYPE(point, x, y);

static mp_status size_of(const point *in, double *out, mp_call *call)
{
    (void)call;
    *out = in->x * in->x + in->y * in->y;
    return MP_OK;
}
MP_TASK(size_of, point, double);

static mp_status load(const point *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(load, point, mp_none);

#if CASE == 5
typedef struct {
    double *numbers;
} pointing;
MP_TYPE(pointing, numbers);
#elif CASE == 6
static mp_status narrow(const point *in, float *out, mp_call *call);
MP_TASK(narrow, point, double);
#elif CASE == 7
typedef struct {
    int a;
} lone;
MP_TYPE(lone, a, b);
#elif CASE == 9
typedef struct {
    void *anything;
} pointing;
MP_TYPE(pointing, anything);
#elif CASE == 10
typedef struct {
    const char *text;
} pointing;
MP_TYPE(pointing, text);
#elif CASE == 23
MP_TASK_DECLARE(size_of, point, float);
#endif

static void on_size(const double *size, void *user)
{
    (void)size, (void)user;
}
static void on_sizes(const double *sizes, size_t n, void *user)
{
    (void)sizes, (void)n, (void)user;
}
static void on_point(const point *at, void *user)
{
    (void)at, (void)user;
}
static bool next_point(point *at, void *user)
{
    *at = (point){1, 2};
    return user;
}
static bool next_size(double *size, void *user)
{
    *size = 1;
    return user;
}

int main(void)
{
    mp_pool *pool = NULL;
    mp_iter *iter = NULL;
    point points[3] = {{1, 2}, {3, 4}, {5, 6}};
    double sizes[3];
    (void)on_size, (void)on_sizes, (void)on_point, (void)next_point, (void)next_size, (void)pool, (void)iter, (void)sizes;
#if CASE == 1
    mp_pool_map(pool, size_of, sizes, 3, sizes);
#elif CASE == 2
    mp_pool_map(pool, size_of, points, 3, points, .chunksize = 2);
#elif CASE == 3
    mp_pool_apply(pool, size_of, sizes, sizes);
#elif CASE == 4
    mp_free(point, sizes, 3);
#elif CASE == 8
    mp_pool_map(pool, main, points, 3, sizes);
#elif CASE == 11
    mp_pool_apply_async(pool, size_of, sizes);
#elif CASE == 12
    mp_pool_apply_async(pool, size_of, points, .callback = on_point);
#elif CASE == 13
    mp_pool_apply_async(pool, size_of, points, .callback = on_sizes);
#elif CASE == 14
    mp_pool_map_async(pool, size_of, sizes, 3);
#elif CASE == 15
    mp_pool_map_async(pool, size_of, points, 3, .callback = on_size);
#elif CASE == 16
    mp_pool_map_async(pool, size_of, points, 3, .error_callback = on_sizes);
#elif CASE == 17
    iter = mp_pool_imap(pool, size_of, sizes, 3);
#elif CASE == 18
    iter = mp_pool_imap_unordered(pool, size_of, sizes, 3, .chunksize = 1);
#elif CASE == 19
    iter = mp_pool_imap_from(pool, size_of, next_size, NULL);
#elif CASE == 20
    iter = mp_pool_imap_unordered_from(pool, size_of, on_point, NULL);
#elif CASE == 21
    return mp_pool_open(&pool, .initializer = MP_HOOK(load, sizes)) == MP_OK;
#elif CASE == 22
    return mp_pool_open(&pool, .initializer = MP_HOOK(size_of, points)) == MP_OK;
#elif CASE == 24
    mp_pool_broadcast(pool, size_of, sizes, sizes, 3);
#elif CASE == 25
    mp_iter_next(iter, sizes, MP_FOREVER, .item = 3);
#elif CASE == 26
    mp_async_get(NULL, sizes[0], 0);
#elif CASE == 27
    mp_executor_shutdown(NULL, .cancel = true);
#else
    mp_pool_map(pool, size_of, points, 3, sizes, .chunksize = 2);
    mp_free(point, points, 3);
    mp_pool_apply_async(pool, size_of, points, .callback = on_size);
    mp_pool_map_async(pool, size_of, points, 3, .callback = on_sizes);
    iter = mp_pool_imap(pool, size_of, points, 3);
    iter = mp_pool_imap_from(pool, size_of, next_point, NULL);
    mp_iter_next(iter, sizes, MP_FOREVER, .index = NULL);
    return mp_pool_open(&pool, .initializer = MP_HOOK(load, points), .finalizer = MP_HOOK(load, &(point){1, 2})) == MP_OK;
#endif
    return (int)points[0].x + (int)sizes[0];
}
