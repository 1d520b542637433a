/* Start work now, use it later. Also: threads instead of processes, by changing one option. */
#include <millpond.h>
#include <stdio.h>

static mp_status square(const int64_t *x, int64_t *y, mp_call *call)
{
    (void)call;
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int64_t, int64_t);

/* Callbacks get the typed result; they never run on a worker, and they can never break the pool. */
static void print_square(const int64_t *y, void *user)
{
    printf("%s %lld\n", (const char *)user, (long long)*y);
}

static void print_error(const mp_error *error, void *user)
{
    (void)user;
    mp_perror(error);
}

int main(void)
{
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = 2, .error = &error) { /* as Python's `with`: terminated on the way out */
        mp_async *one = mp_pool_apply_async(pool, square, (&(int64_t){12}), .callback = print_square,
                                            .error_callback = print_error, .user = "square:");
        int64_t items[100], squares[100], y, sum = 0;
        for (int i = 0; i < 100; i++)
            items[i] = i;
        mp_async *many = mp_pool_map_async(pool, square, items, 100); /* items may be reused at once */

        switch (mp_async_get(one, &y, 5.0)) { /* seconds */
        case MP_OK: printf("%lld\n", (long long)y); break;
        case MP_ETIMEDOUT: puts("still working"); break; /* nothing is lost: get it later */
        default: mp_perror(mp_async_error(one));
        }
        mp_async_wait(many, MP_FOREVER);
        if (mp_async_successful(many) && mp_async_get(many, squares, MP_FOREVER) == MP_OK)
            for (int i = 0; i < 100; i++)
                sum += squares[i];
        printf("%lld\n", (long long)sum);
        mp_async_free(&one);
        mp_async_free(&many);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;

    MP_WITH_POOL (threads, .kind = MP_THREADS, .processes = 8, .error = &error) {
        int64_t y;
        if (mp_pool_apply(threads, square, (&(int64_t){9}), &y, .error = &error) == MP_OK) /* no serialization */
            printf("%lld\n", (long long)y);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
