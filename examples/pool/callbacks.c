/* callback= and error_callback=: exactly one of them runs, once, before get and wait return. Each gets the task's own result type:
 * a wrong one is a compiler diagnostic. */
#include <millpond.h>
#include <stdio.h>

static mp_status reciprocal(const double *x, double *y, mp_call *call)
{
    if (*x == 0)
        return mp_fail(call, MP_EINVAL, "0 has no reciprocal");
    *y = 1 / *x;
    return MP_OK;
}
MP_TASK(reciprocal, double, double);

static void print_one(const double *y, void *user)
{
    printf("%s %g\n", (const char *)user, *y);
}

static void print_all(const double *ys, size_t n, void *user)
{
    for (size_t i = 0; i < n; i++)
        printf("%s %g\n", (const char *)user, ys[i]);
}

static void print_error(const mp_error *error, void *user)
{
    printf("%s item %zu: %s\n", (const char *)user, error->item, error->message);
}

static void finish(mp_async *call)
{
    mp_async_wait(call, MP_FOREVER);
    mp_async_free(&call);
}

int main(int argc, char **argv)
{
    (void)argv;
    double good[] = {1, 2, 4}, bad[] = {1, 0, 4};
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        finish(mp_pool_apply_async(pool, reciprocal, &good[2], .callback = print_one, .user = "apply:"));
        finish(mp_pool_map_async(pool, reciprocal, good, 3, .callback = print_all, .error_callback = print_error,
                                 .user = "map:"));
        finish(mp_pool_map_async(pool, reciprocal, bad, 3, .callback = print_all, .error_callback = print_error,
                                 .user = "map:"));
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
