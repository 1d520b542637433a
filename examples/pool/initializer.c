/* Pool(2, initializer=prepare, initargs=(100,)): what each worker prepares once, and its items then use. */
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>

/* A sieve up to `limit` is this worker's state; a failure here is what opening the pool fails with. */
static mp_status prepare(const int *limit, mp_none *out, mp_call *call)
{
    (void)out;
    if (*limit < 2)
        return mp_fail(call, MP_EINVAL, "there is no prime up to %d", *limit);
    bool *composite = calloc((size_t)*limit + 1, sizeof *composite);
    if (!composite)
        return mp_fail(call, MP_ENOMEM, "no memory for a sieve up to %d", *limit);
    for (int i = 2; i <= *limit / i; i++)
        for (int k = i * i; k <= *limit; k += i)
            composite[k] = true;
    mp_call_set_state(call, composite);
    return MP_OK;
}
MP_TASK(prepare, int, mp_none);

static mp_status clean_up(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    free(mp_call_state(call));
    return MP_OK;
}
MP_TASK(clean_up, mp_none, mp_none);

static mp_status is_prime(const int *number, bool *prime, mp_call *call)
{
    const bool *composite = mp_call_state(call);
    *prime = *number > 1 && !composite[*number];
    return MP_OK;
}
MP_TASK(is_prime, int, bool);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_THREADS : MP_PROCESSES; /* ./initializer threads */
    int limit = 100, numbers[101];
    bool prime[101];
    mp_error error = {0};
    for (int i = 0; i <= limit; i++)
        numbers[i] = i;

    MP_WITH_POOL (pool, .kind = kind, .processes = 2, .initializer = MP_HOOK(prepare, &limit),
                  .finalizer = MP_HOOK(clean_up, NULL), .error = &error) {
        mp_pool_map(pool, is_prime, numbers, 101, prime, .error = &error);
        mp_pool_close(pool); /* workers that leave in good order run the finalizer */
        mp_pool_join(pool);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    for (int i = 0; i <= limit; i++)
        if (prime[i])
            printf("%d%s", i, i < 97 ? " " : "\n");

    limit = 1;
    MP_WITH_POOL (pool, .kind = kind, .processes = 2, .initializer = MP_HOOK(prepare, &limit), .error = &error)
        puts("this pool never opens");
    printf("up to 1: %s\n", mp_status_name(error.status));
}
