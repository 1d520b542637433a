/* Getting a pool and letting it go: Pool(4), Pool(), `with Pool() as pool`, close, join. */
#include <millpond.h>
#include <stdio.h>

static mp_status square(const int *x, int *y, mp_call *call)
{
    (void)call;
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_THREADS : MP_PROCESSES; /* ./create threads */
    mp_error error = {0};
    mp_pool *pool;
    int y;

    /* pool = Pool(4); pool.apply(square, (7,)); pool.close(); pool.join() */
    if (mp_pool_open(&pool, .kind = kind, .processes = 4, .error = &error) != MP_OK)
        return mp_perror(&error), 1;
    mp_pool_apply(pool, square, (&(int){7}), &y);
    printf("one of four workers says %d\n", y);
    mp_pool_close(pool);
    printf("closed, it says %s\n", mp_status_name(mp_pool_apply(pool, square, (&(int){8}), &y)));
    mp_pool_join(pool);
    mp_pool_free(&pool);

    /* with Pool() as pool: a worker for each CPU; terminated and freed at the end of the block */
    MP_WITH_POOL (all, .kind = kind, .error = &error) {
        mp_pool_stats stats;
        mp_pool_get_stats(all, &stats);
        printf("as many workers as CPUs: %s\n", stats.processes == mp_cpu_count() ? "yes" : "no");
        mp_pool_apply(all, square, (&(int){9}), &y);
        printf("one of them says %d\n", y);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;

    /* Pool(-1): ValueError */
    if (mp_pool_open(&pool, .kind = kind, .processes = -1, .error = &error) != MP_OK)
        printf("-1 workers: %s\n", mp_status_name(error.status));
}
