/* A program whose only item crashes: it says so, with what is known of where, and goes on. */
#include <millpond.h>
#include <signal.h>

static mp_status crash(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    (void)raise(SIGSEGV);
    return MP_OK;
}
MP_TASK(crash, int, int);

int main(int argc, char **argv)
{
    mp_error error;
    mp_pool *pool;
    int in = 1, out;
    mp_main(argc, argv);
    if (mp_pool_open(&pool, .processes = 1, .error = &error) != MP_OK)
        return mp_perror(&error), 1;
    bool crashed = mp_pool_apply(pool, crash, &in, &out, .error = &error) == MP_ECRASHED;
    mp_perror(&error);
    mp_pool_free(&pool);
    return !crashed;
}
